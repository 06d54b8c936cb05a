//! The framing that other projects' simulators speak over TCP: a word address, and after 0x03 one packet, which is
//! answered by one packet. Wake and idle have no answer; a connection counts as awake.

use super::{Transport, TransportError};
use crate::device::atecc608::packet::WAKE_ANSWER;
use std::io::{Read, Write};
use std::time::Duration;

/// A simulated chip behind a stream.
pub struct SimulatorTransport<S> {
    stream: S,
    output: Vec<u8>,
    cursor: usize,
}

impl<S: Read + Write + Send> SimulatorTransport<S> {
    /// Takes the stream, whose read timeout bounds how long a lost simulator is waited for.
    pub fn new(stream: S) -> Self {
        Self { stream, output: Vec::new(), cursor: 0 }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).map_err(|e| TransportError::Io(format!("simulator: {e}")))
    }

    fn receive(&mut self) -> Result<(), TransportError> {
        let failed = |e| TransportError::Io(format!("simulator: {e}"));
        let mut count = [0u8];
        self.stream.read_exact(&mut count).map_err(failed)?;
        let mut rest = vec![0u8; usize::from(count[0]).saturating_sub(1)];
        self.stream.read_exact(&mut rest).map_err(failed)?;
        self.output = [count.as_slice(), &rest].concat();
        Ok(())
    }
}

impl<S: Read + Write + Send> Transport for SimulatorTransport<S> {
    fn wake(&mut self) -> Result<(), TransportError> {
        self.send(&[0x00])?;
        self.cursor = 0;
        self.output = WAKE_ANSWER.to_vec();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.cursor = 0;
        match bytes.first() {
            Some(0x00) => Ok(()),
            Some(0x03) => self.send(bytes).and_then(|()| self.receive()),
            _ => self.send(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        for octet in buffer {
            *octet = self.output.get(self.cursor).copied().unwrap_or(0xff);
            self.cursor += 1;
        }
        Ok(())
    }

    fn pause(&mut self, _time: Duration) {}
}
