//! Bytes to and from one element: the boundary between the driver and a bus.

mod emulated;
mod i2c;
pub mod kit;
mod open;
mod simulator;

pub use emulated::EmulatedTransport;
pub use i2c::I2cTransport;
pub use kit::KitTransport;
pub use open::open;
pub use simulator::SimulatorTransport;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a bus can report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The chip did not acknowledge its address: busy, asleep or absent.
    #[error("the chip does not acknowledge its address; check wiring, supply and I2C address")]
    Nak,
    /// The bus or the connection itself failed.
    #[error("{0}")]
    Io(String),
}

/// One element on one bus. The owner of the value owns the bus: two writers would tear transactions apart.
pub trait Transport: Send {
    /// Pulls the data line low long enough to wake a sleeping or idle chip, and waits until it can be read.
    fn wake(&mut self) -> Result<(), TransportError>;

    /// One write transaction; the first octet is the word address (0x00 reset, 0x01 sleep, 0x02 idle, 0x03 command).
    fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// One read transaction that fills `buffer`. A busy chip does not acknowledge ([`TransportError::Nak`]).
    /// Octets after the end of the answer are 0xFF.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError>;

    /// Lets `time` pass for the chip.
    fn pause(&mut self, time: Duration);

    /// Time since any fixed moment, as the chip feels it: what its watchdog goes by.
    fn elapsed(&mut self) -> Duration {
        START.elapsed()
    }
}
