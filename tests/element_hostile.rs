//! What comes from the bus is from outside: whatever a chip, a kit or a host sends, nobody panics or waits for ever.

use proptest::prelude::*;
use sealwright::device::atecc608::{Atecc608, ChipProfile, packet};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::{EmulatedTransport, KitTransport, Transport, TransportError, kit};
use sealwright::device::{DeviceError, SecureElement, Storage};
use std::io::{self, Cursor, Read, Write};
use std::time::Duration;

const PROFILE: &str = include_str!("../config/elements/atecc608-tls.toml");

/// A chip that wakes properly and then answers as the test says, over and over.
struct Liar {
    answers: Vec<Option<Vec<u8>>>,
    turn: usize,
    woken: bool,
    reads: u32,
}

impl Transport for Liar {
    fn wake(&mut self) -> Result<(), TransportError> {
        self.woken = true;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        if bytes[0] == 0x03 {
            self.turn += 1;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        self.reads += 1;
        let answer = match (std::mem::take(&mut self.woken), &self.answers[self.turn % self.answers.len()]) {
            (true, _) => packet::WAKE_ANSWER.to_vec(),
            (false, Some(answer)) => answer.clone(),
            (false, None) => return Err(TransportError::Nak),
        };
        buffer.fill(0xff);
        buffer.iter_mut().zip(&answer).for_each(|(octet, new)| *octet = *new);
        Ok(())
    }

    fn pause(&mut self, _time: Duration) {}
}

fn answers() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    let raw = prop::collection::vec(any::<u8>(), 0..80);
    let framed = prop::sample::select(vec![1usize, 4, 32, 64]).prop_flat_map(|n| prop::collection::vec(any::<u8>(), n));
    let answer = prop_oneof![
        1 => raw.prop_map(Some),
        6 => framed.prop_map(|content| packet::frame(&content)),
        1 => Just(None),
    ];
    prop::collection::vec(answer, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_lying_chip_gets_errors_only(answers in answers()) {
        let profile = ChipProfile::parse(PROFILE).unwrap();
        let liar = Liar { answers, turn: 0, woken: false, reads: 0 };
        let mut chip = Atecc608::new(Box::new(liar), profile);
        let _ = chip.identify();
        let _ = chip.status();
        let _ = chip.configure();
        let _ = chip.random();
        let _ = chip.read(Storage::Data, 416);
        // What needs a proof by the chip cannot be had from random octets.
        prop_assert!(chip.sign(&[1; 32]).is_err());
        prop_assert!(!matches!(chip.attest(&[1; 20]), Ok(Some(_))));
        prop_assert!(chip.lock_key(&[1; 64]).is_err());
    }

    #[test]
    fn any_bytes_on_the_bus_leave_the_emulator_in_order(writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40)) {
        let mut chip = Emulator::blank(Timing::Instant).unwrap();
        let mut buffer = [0u8; 80];
        for bytes in &writes {
            chip.wake().unwrap();
            let _ = chip.write(bytes);
            let _ = chip.read(&mut buffer);
        }
        let mut chip = Atecc608::new(Box::new(EmulatedTransport::new(chip)), ChipProfile::parse(PROFILE).unwrap());
        chip.identify().unwrap();
    }

    #[test]
    fn any_line_is_answered_by_the_kit(lines in prop::collection::vec("[ -~]{0,60}", 1..10)) {
        let mut bus = EmulatedTransport::new(Emulator::blank(Timing::Instant).unwrap());
        let mut stream = Duplex { input: Cursor::new(lines.join("\n").into_bytes()), output: Vec::new() };
        kit::serve(&mut stream, &mut bus).unwrap();
        let asked = lines.len() - 1;
        prop_assert_eq!(stream.output.iter().filter(|octet| **octet == b'\n').count(), asked);
    }

    #[test]
    fn any_answer_of_a_kit_is_an_error_or_octets(answer in prop::collection::vec(any::<u8>(), 0..120)) {
        let stream = Duplex { input: Cursor::new(answer), output: Vec::new() };
        let mut transport = KitTransport::new(stream);
        let _ = transport.wake();
        let _ = transport.write(&[0x03, 0x07, 0x30, 0, 0, 0, 0x03, 0x5d]);
        let _ = transport.read(&mut [0; 35]);
    }
}

struct Duplex {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_chip_that_never_answers_is_given_up() {
    let liar = Liar { answers: vec![None], turn: 0, woken: false, reads: 0 };
    let mut chip = Atecc608::new(Box::new(liar), ChipProfile::parse(PROFILE).unwrap());
    assert!(matches!(chip.identify().unwrap_err(), DeviceError::Timeout { command: "Info", .. }));
    assert!(matches!(chip.generate_key_in(0).unwrap_err(), DeviceError::OutcomeUnknown { command: "GenKey" }));
}

#[test]
fn an_endless_line_is_cut_off() {
    let mut bus = EmulatedTransport::new(Emulator::blank(Timing::Instant).unwrap());
    let mut stream = Duplex { input: Cursor::new(vec![b'A'; 100_000]), output: Vec::new() };
    assert_eq!(kit::serve(&mut stream, &mut bus).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
