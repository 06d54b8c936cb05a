//! An ATECC608 in software, faithful at the wire: what a driver can see of a chip, this shows.
//!
//! The bus side (this file) knows power, sleep, idle, watchdog, busy times and the I/O buffer; `commands` knows what
//! each command does under the locks and the slot permissions; `state` is the memory that survives power loss.

mod clock;
mod commands;
mod faults;
mod keys;
mod memory_access;
mod state;
mod statements;

pub use clock::Timing;
pub use faults::{Brownout, Faults};

use super::DeviceError;
use super::atecc608::command::{ClockMode, timing};
use super::atecc608::packet::{self, WAKE_ANSWER};
use super::transport::TransportError;
use clock::Clock;
use commands::Volatile;
use state::Memory;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time after a wake pulse in which everything must be done; then the chip sleeps. ChipMode bit 2 chooses the longer.
const WATCHDOGS: [Duration; 2] = [Duration::from_millis(1300), Duration::from_secs(13)];
/// Info revision of an ATECC608B.
const REVISION_608B: [u8; 4] = [0x00, 0x00, 0x60, 0x03];

/// Power states; time is chip time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Power {
    Off,
    Asleep,
    Idle,
    Awake { since: Duration },
    Busy { since: Duration, until: Duration },
}

/// One emulated chip.
pub struct Emulator {
    memory: Memory,
    file: Option<PathBuf>,
    volatile: Volatile,
    power: Power,
    clock: Clock,
    output: Vec<u8>,
    cursor: usize,
    bus_bytes: u64,
    executed: Duration,
    faults: Faults,
}

impl Emulator {
    /// A blank ATECC608B in memory only, with a new serial number.
    pub fn blank(timing: Timing) -> Result<Self, DeviceError> {
        Ok(Self::from_memory(Memory::blank(state::new_serial()?, REVISION_608B), None, timing))
    }

    /// A blank chip in memory only, with the serial number and revision given: clones and other parts.
    pub fn with_identity(serial: [u8; 9], revision: [u8; 4], timing: Timing) -> Self {
        Self::from_memory(Memory::blank(serial, revision), None, timing)
    }

    /// The chip that `path` holds; a blank one with a new serial number is created there when the file is absent.
    pub fn open(path: &Path, timing: Timing) -> Result<Self, DeviceError> {
        let memory = if path.exists() {
            Memory::load(path)?
        } else {
            let blank = Memory::blank(state::new_serial()?, REVISION_608B);
            blank.save(path)?;
            blank
        };
        Ok(Self::from_memory(memory, Some(path.to_owned()), timing))
    }

    fn from_memory(memory: Memory, file: Option<PathBuf>, timing: Timing) -> Self {
        let (clock, faults) = (Clock::new(timing), Faults::default());
        Self {
            memory,
            file,
            volatile: Volatile::default(),
            power: Power::Asleep,
            clock,
            output: Vec::new(),
            cursor: 0,
            bus_bytes: 0,
            executed: Duration::ZERO,
            faults,
        }
    }

    /// The fault knobs.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Bytes that have passed on the bus since the last power-up.
    pub fn bus_bytes(&self) -> u64 {
        self.bus_bytes
    }

    /// Takes the supply away and gives it back: volatile state is gone, the byte count starts at zero and the
    /// power-loss fault is cleared.
    pub fn power_cycle(&mut self) {
        self.drop_volatile(Power::Asleep);
        self.bus_bytes = 0;
        self.faults.power_loss_after_byte = None;
    }

    /// Lets chip time pass; returns how long the caller must really sleep.
    pub fn pass(&mut self, time: Duration) -> Duration {
        self.clock.pass(time)
    }

    /// Chip time since the emulator was started.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Sum of the execution times of all commands since the emulator was started.
    pub fn executed(&self) -> Duration {
        self.executed
    }

    /// A wake pulse. A chip that is awake does not notice it.
    pub fn wake(&mut self) -> Result<(), TransportError> {
        self.settle();
        if matches!(self.power, Power::Asleep | Power::Idle) {
            self.power = Power::Awake { since: self.clock.now() };
            self.answer(WAKE_ANSWER.to_vec());
        }
        Ok(())
    }

    /// A write transaction addressed to this chip.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.settle();
        let Power::Awake { since } = self.power else { return Err(TransportError::Nak) };
        if self.faults.nak_writes > 0 {
            self.faults.nak_writes -= 1;
            return Err(TransportError::Nak);
        }
        let passed = self.count_bytes(bytes.len());
        if passed < bytes.len() {
            // Power failed inside the transaction: the packet never became complete.
            self.drop_volatile(Power::Off);
            return Err(TransportError::Nak);
        }
        match bytes.split_first() {
            Some((0x00, _)) => self.cursor = 0,
            Some((0x01, _)) => self.drop_volatile(Power::Asleep),
            Some((0x02, _)) => self.power = Power::Idle,
            Some((0x03, packet)) => self.receive(packet, since)?,
            _ => return Err(TransportError::Nak),
        }
        Ok(())
    }

    /// A read transaction addressed to this chip: the rest of the I/O buffer, then 0xFF.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<(), TransportError> {
        self.settle();
        if !matches!(self.power, Power::Awake { .. }) {
            return Err(TransportError::Nak);
        }
        let passed = self.count_bytes(buffer.len());
        let damage = self.faults.damage_answers > 0 && self.output != WAKE_ANSWER && self.cursor == 0;
        for (octet, at) in buffer.iter_mut().take(passed).zip(self.cursor..) {
            *octet = self.output.get(at).copied().unwrap_or(0xff);
        }
        if damage {
            self.faults.damage_answers -= 1;
            if let Some(octet) = buffer.get_mut(1) {
                *octet ^= 0x10;
            }
        }
        self.cursor += passed;
        if passed < buffer.len() {
            self.drop_volatile(Power::Off);
            return Err(TransportError::Nak);
        }
        Ok(())
    }

    fn receive(&mut self, packet: &[u8], since: Duration) -> Result<(), TransportError> {
        if self.faults.damage_commands > 0 {
            self.faults.damage_commands -= 1;
            self.answer(status(0xff));
            return Ok(());
        }
        let Ok(content) = packet::unframe(packet) else {
            self.answer(status(0xff));
            return Ok(());
        };
        let time = self.execution_time(content);
        if self.clock.now() + time > since + self.watchdog() && time < self.watchdog() {
            self.answer(status(0xee));
            return Ok(());
        }
        // Power that fails with the last octet of the packet fails while the command executes.
        let power_fails = self.faults.power_loss_after_byte.is_some_and(|limit| self.bus_bytes >= limit);
        if !(power_fails && self.faults.brownout == Brownout::Before) {
            let content = content.to_vec();
            let output = self.execute(&content)?;
            self.answer(output);
        }
        if power_fails {
            self.drop_volatile(Power::Off);
            return Ok(());
        }
        self.executed += time;
        let until = if self.faults.stuck_busy { Duration::MAX } else { self.clock.busy(time) };
        // A command longer than the watchdog (SelfTest at the slowest clock) is answered, so its answer can be read.
        let since = if time < self.watchdog() { since } else { until };
        self.power = Power::Busy { since, until };
        Ok(())
    }

    /// Worst case of the command in the clock mode that the configuration names, as long as faults make it.
    fn execution_time(&self, content: &[u8]) -> Duration {
        let mode = ClockMode::from_chip_mode(self.memory.configuration[19]).unwrap_or(ClockMode::M0);
        let milliseconds = content.first().and_then(|code| timing(*code, mode)).map_or(1, |(_, ms)| ms);
        Duration::from_millis(milliseconds * u64::from(self.faults.slowness))
    }

    fn watchdog(&self) -> Duration {
        WATCHDOGS[usize::from(self.memory.configuration[19] >> 2 & 1)]
    }

    /// Executes one command; memory changes are on disk before the answer exists.
    fn execute(&mut self, content: &[u8]) -> Result<Vec<u8>, TransportError> {
        let (answer, changed) = commands::execute(&mut self.memory, &mut self.volatile, content, self.faults.lying_signature);
        if changed && let Some(path) = &self.file {
            self.memory.save(path).map_err(|e| TransportError::Io(e.to_string()))?;
        }
        Ok(match answer {
            Ok(data) => packet::frame(&data).unwrap_or_default(),
            Err(code) => status(code),
        })
    }

    /// Ends what has ended: a command that is done, a watchdog that has run out.
    fn settle(&mut self) {
        let now = self.clock.now();
        if let Power::Busy { since, until } = self.power
            && now >= until
        {
            self.power = Power::Awake { since };
        }
        if let Power::Awake { since } = self.power
            && now > since + self.watchdog()
        {
            self.drop_volatile(Power::Asleep);
        }
    }

    /// Counts bytes until power fails; returns how many passed before it did.
    fn count_bytes(&mut self, wanted: usize) -> usize {
        let left = self.faults.power_loss_after_byte.map_or(u64::MAX, |limit| limit.saturating_sub(self.bus_bytes));
        let passed = u64::try_from(wanted).unwrap_or(u64::MAX).min(left);
        self.bus_bytes += passed;
        usize::try_from(passed).unwrap_or(wanted)
    }

    fn drop_volatile(&mut self, power: Power) {
        self.volatile = Volatile::default();
        self.output.clear();
        self.cursor = 0;
        self.power = power;
    }

    fn answer(&mut self, packet: Vec<u8>) {
        self.output = packet;
        self.cursor = 0;
    }
}

fn status(code: u8) -> Vec<u8> {
    packet::frame(&[code]).unwrap_or_default()
}
