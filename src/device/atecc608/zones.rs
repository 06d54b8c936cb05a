//! Memory geometry: zones, slot sizes and the address parameters of Read and Write.

/// Octets of the configuration zone.
pub const CONFIGURATION_SIZE: usize = 128;
/// Octets of the one-time-programmable zone.
pub const OTP_SIZE: usize = 64;
/// Slots of the data zone.
pub const SLOTS: u8 = 16;

/// Octets of a data slot: 36 for 0 to 7, 416 for 8, 72 for 9 to 15.
pub fn slot_size(slot: u8) -> usize {
    match slot {
        0..=7 => 36,
        8 => 416,
        _ => 72,
    }
}

/// Memory zones by their number in the zone parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zone {
    /// Zone 0.
    Configuration,
    /// Zone 1.
    Otp,
    /// Zone 2, one slot of it.
    Data(u8),
}

impl Zone {
    /// Octets.
    pub fn size(self) -> usize {
        match self {
            Self::Configuration => CONFIGURATION_SIZE,
            Self::Otp => OTP_SIZE,
            Self::Data(slot) => slot_size(slot),
        }
    }
}

/// A word (4 octets) or a block (32 octets) in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    zone: Zone,
    offset: usize,
    block: bool,
}

impl Address {
    /// The block of 32 octets at `offset`; `None` unless aligned and starting inside the zone.
    pub fn block(zone: Zone, offset: usize) -> Option<Self> {
        (offset.is_multiple_of(32) && offset < zone.size()).then_some(Self { zone, offset, block: true })
    }

    /// The word of 4 octets at `offset`; `None` unless aligned and inside the zone.
    pub fn word(zone: Zone, offset: usize) -> Option<Self> {
        (offset.is_multiple_of(4) && offset < zone.size()).then_some(Self { zone, offset, block: false })
    }

    /// Reads the parameters of Read and Write; `None` when they name no memory.
    pub fn from_params(param1: u8, param2: u16) -> Option<Self> {
        let word = usize::from(param2 & 7) * 4;
        let zone = match param1 & 0x03 {
            0 => Zone::Configuration,
            1 => Zone::Otp,
            2 => Zone::Data(u8::try_from(param2 >> 3 & 0x0f).ok()?),
            _ => return None,
        };
        let offset = match zone {
            Zone::Configuration | Zone::Otp => usize::from(param2 >> 3 & 0x1f) * 32 + word,
            Zone::Data(_) => usize::from(param2 >> 8) * 32 + word,
        };
        if param1 & 0x80 != 0 { Self::block(zone, offset & !31) } else { Self::word(zone, offset) }
    }

    /// The zone.
    pub fn zone(self) -> Zone {
        self.zone
    }

    /// First octet inside the zone.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// 4 or 32.
    pub fn length(self) -> usize {
        if self.block { 32 } else { 4 }
    }

    /// Zone parameter: zone number, bit 7 for a block.
    pub fn param1(self) -> u8 {
        let zone = match self.zone {
            Zone::Configuration => 0,
            Zone::Otp => 1,
            Zone::Data(_) => 2,
        };
        zone | if self.block { 0x80 } else { 0 }
    }

    /// Address parameter: word in bits 0 to 2; block from bit 3, or slot from bit 3 and block from bit 8.
    pub fn param2(self) -> u16 {
        let word = u16::try_from(self.offset % 32 / 4).unwrap_or(0);
        let block = u16::try_from(self.offset / 32).unwrap_or(0);
        match self.zone {
            Zone::Configuration | Zone::Otp => block << 3 | word,
            Zone::Data(slot) => block << 8 | u16::from(slot) << 3 | word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_survives_its_parameters() {
        let zones = (0..SLOTS).map(Zone::Data).chain([Zone::Configuration, Zone::Otp]);
        for zone in zones {
            for offset in (0..zone.size()).step_by(4) {
                let word = Address::word(zone, offset).unwrap();
                assert_eq!(Address::from_params(word.param1(), word.param2()), Some(word));
                if let Some(block) = Address::block(zone, offset) {
                    assert_eq!(Address::from_params(block.param1(), block.param2()), Some(block));
                }
            }
            assert_eq!(Address::word(zone, zone.size()), None);
        }
    }
}
