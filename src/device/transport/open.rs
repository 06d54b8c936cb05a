//! Buses by name, as stations write them.

use super::{EmulatedTransport, I2cTransport, KitTransport, SimulatorTransport, Transport, TransportError, i2c};
use crate::device::DeviceError;
use crate::device::emulator::{Emulator, Timing};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A silent peer is given up after this; the slowest command takes a quarter of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the bus that `name` describes:
/// `i2c:/dev/i2c-1` or `i2c:/dev/i2c-1@0x35` (Linux adapter, 7-bit address),
/// `serial:/dev/ttyACM0` and `tcp:HOST:PORT` (kit protocol: evaluation kits, [`super::kit::serve`]),
/// `simulator:HOST:PORT` (framing of other projects' simulators),
/// `emulated:FILE` (a chip of this crate in this process, with the execution times of `timing`).
pub fn open(name: &str, timing: Timing) -> Result<Box<dyn Transport>, DeviceError> {
    let unknown = || {
        let forms = "i2c:/dev/i2c-N[@ADDRESS], serial:/dev/ttyX, tcp:HOST:PORT, simulator:HOST:PORT or emulated:FILE";
        DeviceError::Bus(TransportError::Io(format!("'{name}' names no bus; write {forms}")))
    };
    let (kind, place) = name.split_once(':').ok_or_else(unknown)?;
    Ok(match kind {
        "i2c" => {
            let (adapter, address) = match place.split_once('@') {
                Some((adapter, text)) => (adapter, seven_bit(text).ok_or_else(unknown)?),
                None => (place, i2c::DEFAULT_ADDRESS),
            };
            Box::new(I2cTransport::open(Path::new(adapter), address)?)
        }
        "serial" => Box::new(KitTransport::new(serial(place)?)),
        "tcp" => Box::new(KitTransport::new(connect(place)?)),
        "simulator" => Box::new(SimulatorTransport::new(connect(place)?)),
        "emulated" => Box::new(EmulatedTransport::new(Emulator::open(Path::new(place), timing)?)),
        _ => return Err(unknown()),
    })
}

/// 0x08 to 0x77: addresses that the I2C specification leaves to devices.
fn seven_bit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u16::from_str_radix(digits, 16).ok().filter(|address| (0x08..=0x77).contains(address))
}

fn connect(place: &str) -> Result<TcpStream, TransportError> {
    let failed = |e| TransportError::Io(format!("{place}: {e}"));
    let stream = TcpStream::connect(place).map_err(failed)?;
    stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).map_err(failed)?;
    Ok(stream)
}

fn serial(place: &str) -> Result<File, TransportError> {
    let failed = |e: std::io::Error| TransportError::Io(format!("{place}: {e}"));
    let line = File::options().read(true).write(true).open(place).map_err(failed)?;
    let mut settings = tcgetattr(&line).map_err(|e| failed(e.into()))?;
    settings.make_raw();
    settings.set_speed(115_200).map_err(|e| failed(e.into()))?;
    // A read returns after five seconds (50 tenths) of silence.
    settings.special_codes[SpecialCodeIndex::VMIN] = 0;
    settings.special_codes[SpecialCodeIndex::VTIME] = 50;
    tcsetattr(&line, OptionalActions::Now, &settings).map_err(|e| failed(e.into()))?;
    Ok(line)
}
