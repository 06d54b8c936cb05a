//! An emulated chip in this process, on a bus of its own.

use super::{Transport, TransportError};
use crate::device::emulator::Emulator;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shares the chip, so that a test or a station can cut its power or inject faults while a driver runs.
#[derive(Clone)]
pub struct EmulatedTransport {
    chip: Arc<Mutex<Emulator>>,
}

impl EmulatedTransport {
    /// Puts a chip on the bus.
    pub fn new(chip: Emulator) -> Self {
        Self { chip: Arc::new(Mutex::new(chip)) }
    }

    /// The chip itself.
    pub fn chip(&self) -> MutexGuard<'_, Emulator> {
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for EmulatedTransport {
    fn wake(&mut self) -> Result<(), TransportError> {
        self.chip().wake()?;
        // tWHI, the time from the wake pulse to the first transaction: 1.5 ms.
        self.pause(Duration::from_micros(1500));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.chip().write(bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        self.chip().read(buffer)
    }

    fn elapsed(&mut self) -> Duration {
        self.chip().now()
    }

    fn pause(&mut self, time: Duration) {
        let real = self.chip().pass(time);
        if !real.is_zero() {
            std::thread::sleep(real);
        }
    }
}
