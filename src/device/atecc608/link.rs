//! One command on the wire: wake, send, poll, check, idle; a retry only where it cannot do harm.

use super::command::{ClockMode, Command, Repeat};
use super::packet::{self, WAKE_ANSWER};
use crate::device::transport::{Transport, TransportError};
use crate::device::{DeviceError, StatusCode};
use std::time::Duration;

const WORD_RESET: u8 = 0x00;
const WORD_SLEEP: u8 = 0x01;
const WORD_IDLE: u8 = 0x02;
const WORD_COMMAND: u8 = 0x03;
/// Real chips are usually faster than their worst case, so ask early and often.
const POLL: Duration = Duration::from_millis(2);
/// Commands up to this worst case are polled twice as often.
const SHORT_COMMAND: Duration = Duration::from_millis(25);
/// Shortest watchdog of any part (data sheet: 0.7 s); everything between two wake pulses fits into it.
const WATCHDOG: Duration = Duration::from_millis(700);
const ATTEMPTS: usize = 3;

/// A chip behind a transport. It stays awake from command to command for as long as its watchdog certainly lets it,
/// then idles and wakes again, which keeps its volatile state and restarts the watchdog.
pub struct Link {
    transport: Box<dyn Transport>,
    clock: ClockMode,
    /// When the chip was woken; `None` when it may sleep or idle.
    woken: Option<Duration>,
}

/// How one exchange failed, before it is decided whether to repeat.
enum Failed {
    /// The chip did not take the command or says that it did not execute it.
    NotExecuted(DeviceError),
    /// Sent, but no intact answer.
    Unknown(DeviceError),
    /// The chip's answer is final.
    Final(DeviceError),
}

impl Link {
    /// Takes the bus.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        // Until the configuration is known, the slowest mode bounds every wait.
        Self { transport, clock: ClockMode::M2, woken: None }
    }

    /// Sets the clock mode that the chip's configuration names.
    pub fn set_clock(&mut self, clock: ClockMode) {
        self.clock = clock;
    }

    /// Wakes the chip and checks its wake answer.
    pub fn wake(&mut self) -> Result<(), DeviceError> {
        let mut got = String::from("no acknowledgement");
        self.woken = None;
        for _ in 0..ATTEMPTS {
            let now = self.transport.elapsed();
            self.transport.wake()?;
            let mut answer = [0u8; 4];
            match self.transport.read(&mut answer) {
                Ok(()) if answer == WAKE_ANSWER => {
                    self.woken = Some(now);
                    return Ok(());
                }
                Ok(()) => got = hex::encode(answer),
                Err(TransportError::Nak) => {}
                Err(e) => return Err(e.into()),
            }
            // An awake chip that still holds another answer is put to sleep, so that the next pulse starts clean.
            match self.transport.write(&[WORD_SLEEP]) {
                Ok(()) | Err(TransportError::Nak) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(DeviceError::Wake { got })
    }

    /// Puts the chip to sleep; its volatile state is lost.
    pub fn sleep(&mut self) -> Result<(), DeviceError> {
        self.woken = None;
        match self.transport.write(&[WORD_SLEEP]) {
            // A chip that does not acknowledge is asleep already.
            Ok(()) | Err(TransportError::Nak) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Executes a command and returns the content of its answer, of exactly the expected length.
    pub fn execute(&mut self, command: &Command) -> Result<Vec<u8>, DeviceError> {
        let mut attempt = 1;
        loop {
            let outcome = self.exchange(command);
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let repeatable = command.repeat() == Repeat::Harmless;
            match failed {
                Failed::Final(e) => return Err(e),
                Failed::Unknown(_) if !repeatable => {
                    self.woken = None;
                    return Err(DeviceError::OutcomeUnknown { command: command.name() });
                }
                Failed::NotExecuted(e) | Failed::Unknown(e) if attempt >= ATTEMPTS => {
                    self.woken = None;
                    return Err(e);
                }
                Failed::NotExecuted(_) | Failed::Unknown(_) => self.idle()?,
            }
            attempt += 1;
        }
    }

    /// Wakes the chip unless it is awake with time enough for `command` on its watchdog.
    fn be_awake(&mut self, command: &Command) -> Result<(), DeviceError> {
        let needed = command.worst_case(self.clock) + POLL * 2;
        match self.woken {
            Some(since) if self.transport.elapsed().saturating_sub(since) + needed < WATCHDOG => Ok(()),
            Some(_) => self.idle().and_then(|()| self.wake()),
            None => self.wake(),
        }
    }

    /// Idle keeps volatile state (a loaded digest) and stops the watchdog.
    fn idle(&mut self) -> Result<(), DeviceError> {
        self.woken = None;
        match self.transport.write(&[WORD_IDLE]) {
            Ok(()) | Err(TransportError::Nak) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn exchange(&mut self, command: &Command) -> Result<Vec<u8>, Failed> {
        let name = command.name();
        let Some(packet) = packet::frame(command.content()) else {
            let reason = "the command is longer than a packet".to_owned();
            return Err(Failed::Final(DeviceError::Answer { command: name, reason }));
        };
        self.be_awake(command).map_err(Failed::NotExecuted)?;
        let mut bytes = vec![WORD_COMMAND];
        bytes.extend_from_slice(&packet);
        // Without an acknowledged transaction the chip has no complete packet, so it executes nothing.
        self.transport.write(&bytes).map_err(|e| match e {
            TransportError::Nak => Failed::NotExecuted(e.into()),
            TransportError::Io(_) => Failed::Unknown(e.into()),
        })?;
        let answer = self.answer(command)?;
        match (command.answer_length(), answer.as_slice()) {
            (1, [0x00]) => Ok(answer),
            (_, [status]) => Err(status_failure(name, *status)),
            (length, bytes) if length == bytes.len() => Ok(answer),
            (length, bytes) => {
                let reason = format!("{} octets instead of {length}", bytes.len());
                Err(Failed::Unknown(DeviceError::Answer { command: name, reason }))
            }
        }
    }

    /// Polls until the chip acknowledges, at most twice the worst case, then reads; a damaged answer is read again
    /// from the chip's buffer, which executes nothing.
    fn answer(&mut self, command: &Command) -> Result<Vec<u8>, Failed> {
        let limit = command.worst_case(self.clock) * 2 + Duration::from_millis(50);
        let poll = if command.worst_case(self.clock) > SHORT_COMMAND { POLL } else { POLL / 2 };
        let mut waited = Duration::ZERO;
        let mut buffer = vec![0u8; command.answer_length().max(1) + 3];
        let mut rereads = 0;
        loop {
            self.transport.pause(poll);
            waited += poll;
            match self.transport.read(&mut buffer) {
                Ok(()) => {
                    let damage = match packet::unframe(&buffer) {
                        Ok(content) => return Ok(content.to_vec()),
                        Err(damage) => damage,
                    };
                    rereads += 1;
                    if rereads >= ATTEMPTS {
                        let reason = format!("{damage:?}");
                        return Err(Failed::Unknown(DeviceError::Answer { command: command.name(), reason }));
                    }
                    self.transport.write(&[WORD_RESET]).map_err(|e| Failed::Unknown(e.into()))?;
                }
                Err(TransportError::Nak) if waited >= limit => {
                    let milliseconds = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                    return Err(Failed::Unknown(DeviceError::Timeout { command: command.name(), milliseconds }));
                }
                Err(TransportError::Nak) => {}
                Err(e) => return Err(Failed::Unknown(e.into())),
            }
        }
    }
}

fn status_failure(command: &'static str, byte: u8) -> Failed {
    match StatusCode::from_byte(byte) {
        None => Failed::Unknown(DeviceError::Answer { command, reason: "success without its data".into() }),
        Some(status @ (StatusCode::Watchdog | StatusCode::Communication)) => Failed::NotExecuted(DeviceError::Status { command, status }),
        Some(status) => Failed::Final(DeviceError::Status { command, status }),
    }
}
