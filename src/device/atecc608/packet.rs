//! Packets: count, content, CRC-16. Commands and answers share the frame.

/// Largest packet that an ATECC608 accepts or sends: count, opcode, two parameters, 155 octets of data, CRC.
pub const MAX_PACKET: usize = 164;

/// The answer to a wake pulse: count 4, status 0x11, CRC.
pub const WAKE_ANSWER: [u8; 4] = [0x04, 0x11, 0x33, 0x43];

/// CRC-16 with polynomial 0x8005, initial value 0, each octet taken least significant bit first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc, |crc, bit| {
            let differs = u16::from(byte >> bit & 1) != crc >> 15;
            let shifted = crc << 1;
            if differs { shifted ^ 0x8005 } else { shifted }
        })
    })
}

/// Why octets are not a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Count octet outside 4 to [`MAX_PACKET`], or more than was received.
    Length,
    /// CRC does not match.
    Crc,
}

/// Frames `content`: count before it, CRC (little endian) after it. `None` when longer than [`MAX_PACKET`] allows.
pub fn frame(content: &[u8]) -> Option<Vec<u8>> {
    let count = content.len() + 3;
    if content.is_empty() || count > MAX_PACKET {
        return None;
    }
    let mut packet = Vec::with_capacity(count);
    packet.push(u8::try_from(count).ok()?);
    packet.extend_from_slice(content);
    packet.extend_from_slice(&crc16(&packet).to_le_bytes());
    Some(packet)
}

/// Takes the content out of a packet at the start of `bytes`; octets after the packet are ignored.
pub fn unframe(bytes: &[u8]) -> Result<&[u8], Damage> {
    let count = usize::from(*bytes.first().ok_or(Damage::Length)?);
    if !(4..=MAX_PACKET).contains(&count) {
        return Err(Damage::Length);
    }
    let packet = bytes.get(..count).ok_or(Damage::Length)?;
    let (covered, crc) = packet.split_at(count - 2);
    if crc16(covered).to_le_bytes() != crc {
        return Err(Damage::Crc);
    }
    covered.get(1..).ok_or(Damage::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wake_answer_is_a_packet() {
        assert_eq!(frame(&[0x11]).unwrap(), WAKE_ANSWER);
        assert_eq!(unframe(&WAKE_ANSWER).unwrap(), [0x11]);
    }

    proptest! {
        #[test]
        fn frames_come_back_and_single_bit_errors_do_not(content in prop::collection::vec(any::<u8>(), 1..160), bit in any::<u16>()) {
            let packet = frame(&content).unwrap();
            prop_assert_eq!(unframe(&packet).unwrap(), &content[..]);
            let mut damaged = packet.clone();
            let bit = usize::from(bit) % (packet.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(unframe(&damaged).is_err());
        }

        #[test]
        fn any_octets_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unframe(&bytes);
        }
    }
}
