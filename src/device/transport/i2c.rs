//! A chip on a Linux I2C adapter (`/dev/i2c-N`).

use super::{Transport, TransportError};
use i2cdev::core::I2CDevice;
use i2cdev::linux::{LinuxI2CDevice, LinuxI2CError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// 7-bit address of a part with the default configuration.
pub const DEFAULT_ADDRESS: u16 = 0x60;
/// ENXIO and EREMOTEIO: what adapters report when nobody acknowledges.
const NOT_ACKNOWLEDGED: [i32; 2] = [6, 121];
/// Time from the wake pulse to the first transaction (tWHI of the data sheet: 1500 µs).
const WAKE_DELAY: Duration = Duration::from_micros(1500);

/// One chip on one adapter; the adapter's other users must leave this address alone.
pub struct I2cTransport {
    chip: LinuxI2CDevice,
    /// Address 0: writing it holds the data line low for long enough to wake the chip, at up to 100 kHz.
    everyone: LinuxI2CDevice,
}

impl I2cTransport {
    /// Opens the adapter for the chip at a 7-bit address.
    pub fn open(adapter: &Path, address: u16) -> Result<Self, TransportError> {
        let open = |address| LinuxI2CDevice::new(adapter, address).map_err(|e| TransportError::Io(format!("{}: {e}", adapter.display())));
        Ok(Self { chip: open(address)?, everyone: open(0)? })
    }
}

fn classify(error: LinuxI2CError) -> TransportError {
    let error = io::Error::from(error);
    match error.raw_os_error() {
        Some(number) if NOT_ACKNOWLEDGED.contains(&number) => TransportError::Nak,
        _ => TransportError::Io(format!("I2C: {error}")),
    }
}

impl Transport for I2cTransport {
    fn wake(&mut self) -> Result<(), TransportError> {
        match self.everyone.write(&[0]).map_err(classify) {
            // Nobody answers to address 0; the pulse is what counts.
            Ok(()) | Err(TransportError::Nak) => {}
            Err(e) => return Err(e),
        }
        self.pause(WAKE_DELAY);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.chip.write(bytes).map_err(classify)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        self.chip.read(buffer).map_err(classify)
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}
