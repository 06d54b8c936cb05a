//! Microchip's kit protocol, both sides: one line of text per request and per answer.
//!
//! `board:device(00)` names the part, `E:w()` wakes, `E:t(HEX)` sends a packet and answers the chip's, `E:i()` idles,
//! `E:s()` sleeps; answers are `00(HEX)`, with another number for a failure. The vendor's library speaks it over
//! serial lines, so its evaluation kits, this crate's emulator and any chip that [`serve`] puts on a socket are
//! reached alike. Polling is the server's: a busy chip is seen as a slow answer.

use super::{Transport, TransportError};
use crate::device::atecc608::packet::MAX_PACKET;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Longest line: a packet in hexadecimal and its verb.
const MAX_LINE: usize = 2 * MAX_PACKET + 64;
/// How long the server waits for a busy chip; the slowest command takes 250 ms, a slow clock three times that.
const LONGEST_COMMAND: Duration = Duration::from_millis(2500);
const POLL: Duration = Duration::from_millis(1);
const OK: &str = "00";
const NO_ANSWER: &str = "C0";
const NOT_UNDERSTOOD: &str = "C1";

fn read_line(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut octet = [0u8];
    loop {
        if stream.read(&mut octet)? == 0 {
            return Ok(None);
        }
        match octet {
            [b'\n'] => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            // Hosts pad their lines with zeros.
            [0 | b'\r'] => {}
            [other] if line.len() < MAX_LINE => line.push(other),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {MAX_LINE} octets"))),
        }
    }
}

/// Serves one chip to one host until the host hangs up. The bus belongs to the caller for as long.
pub fn serve(stream: &mut (impl Read + Write), bus: &mut dyn Transport) -> io::Result<()> {
    while let Some(line) = read_line(stream)? {
        let answer = respond(&line, bus)?;
        stream.write_all(format!("{answer}\n").as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}

fn respond(line: &str, bus: &mut dyn Transport) -> io::Result<String> {
    let Some((verb, argument)) = line.trim().strip_suffix(')').and_then(|l| l.split_once('(')) else {
        return Ok(format!("{NOT_UNDERSTOOD}()"));
    };
    if let Some(part) = verb.strip_prefix("board:") {
        return Ok(match (part, argument) {
            ("device", "00") => "ECC608 TWI 00(C0)".into(),
            ("device", _) => "no_device TWI 00(00)".into(),
            _ => format!("{NOT_UNDERSTOOD}()"),
        });
    }
    let action = match verb.split_once(':') {
        Some(("e" | "E", action)) => action,
        _ => return Ok(format!("{NOT_UNDERSTOOD}()")),
    };
    let answer = match action {
        "w" | "wake" => wake(bus),
        "i" | "idle" => bus.write(&[0x02]).map(|()| Vec::new()),
        "s" | "sleep" => bus.write(&[0x01]).map(|()| Vec::new()),
        "physical:select" | "physical:interface" => Ok(Vec::new()),
        "t" | "talk" => match hex::decode(argument) {
            Ok(packet) => talk(bus, &packet),
            Err(_) => return Ok(format!("{NOT_UNDERSTOOD}()")),
        },
        other if other.starts_with("physical:interface:") => Ok(Vec::new()),
        _ => return Ok(format!("{NOT_UNDERSTOOD}()")),
    };
    match answer {
        Ok(bytes) => Ok(format!("{OK}({})", hex::encode_upper(bytes))),
        Err(TransportError::Nak) => Ok(format!("{NO_ANSWER}()")),
        Err(TransportError::Io(reason)) => Err(io::Error::other(reason)),
    }
}

fn wake(bus: &mut dyn Transport) -> Result<Vec<u8>, TransportError> {
    bus.wake()?;
    let mut answer = [0u8; 4];
    bus.read(&mut answer).map(|()| answer.to_vec())
}

fn talk(bus: &mut dyn Transport, packet: &[u8]) -> Result<Vec<u8>, TransportError> {
    bus.write(&[[0x03].as_slice(), packet].concat())?;
    let mut waited = Duration::ZERO;
    let mut answer = [0u8; MAX_PACKET];
    loop {
        bus.pause(POLL);
        waited += POLL;
        match bus.read(&mut answer) {
            Ok(()) => {
                let count = answer.first().map_or(0, |count| usize::from(*count).min(MAX_PACKET));
                return Ok(answer.iter().copied().take(count).collect());
            }
            Err(TransportError::Nak) if waited < LONGEST_COMMAND => {}
            Err(e) => return Err(e),
        }
    }
}

/// A chip behind a stream that speaks the kit protocol: a TCP connection, a serial line, a pseudo-terminal.
pub struct KitTransport<S> {
    stream: S,
    output: Vec<u8>,
    cursor: usize,
}

impl<S: Read + Write + Send> KitTransport<S> {
    /// Takes the stream, whose read timeout bounds how long a lost server is waited for.
    pub fn new(stream: S) -> Self {
        Self { stream, output: Vec::new(), cursor: 0 }
    }

    fn ask(&mut self, request: &str) -> Result<Vec<u8>, TransportError> {
        let io = |e: io::Error| TransportError::Io(format!("kit protocol: {e}"));
        self.stream.write_all(format!("{request}\n").as_bytes()).map_err(io)?;
        self.stream.flush().map_err(io)?;
        let line = read_line(&mut self.stream).map_err(io)?.ok_or_else(|| TransportError::Io("the kit hung up".into()))?;
        let parts = line.trim().strip_suffix(')').and_then(|l| l.split_once('('));
        match parts {
            Some((OK, data)) => hex::decode(data).map_err(|_| TransportError::Io(format!("the kit answers '{line}'"))),
            Some(_) => Err(TransportError::Nak),
            None => Err(TransportError::Io(format!("the kit answers '{line}', not NN(HEX)"))),
        }
    }

    fn ask_and_keep(&mut self, request: &str) -> Result<(), TransportError> {
        self.cursor = 0;
        self.output.clear();
        self.output = self.ask(request)?;
        Ok(())
    }
}

impl<S: Read + Write + Send> Transport for KitTransport<S> {
    fn wake(&mut self) -> Result<(), TransportError> {
        match self.ask_and_keep("E:w()") {
            // The read that follows finds no answer.
            Err(TransportError::Nak) => Ok(()),
            other => other,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        match bytes.split_first() {
            Some((0x00, _)) => {
                self.cursor = 0;
                Ok(())
            }
            Some((0x01, _)) => self.ask("E:s()").map(|_| ()),
            Some((0x02, _)) => self.ask("E:i()").map(|_| ()),
            // A refusal may come after the chip has taken the packet, so it must not pass for "not executed".
            Some((0x03, packet)) => match self.ask_and_keep(&format!("E:t({})", hex::encode_upper(packet))) {
                Err(TransportError::Nak) => Err(TransportError::Io("the kit has no answer from the chip".into())),
                other => other,
            },
            _ => Err(TransportError::Nak),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        if self.output.is_empty() {
            return Err(TransportError::Nak);
        }
        for octet in buffer {
            *octet = self.output.get(self.cursor).copied().unwrap_or(0xff);
            self.cursor += 1;
        }
        Ok(())
    }

    /// The server paces the chip: waiting here as well would only make it slower.
    fn pause(&mut self, _time: Duration) {}
}
