//! One error for the layer: what was asked, what the chip or the bus answered, what to do.

use super::transport::TransportError;
use std::fmt;

/// Status byte of an ATECC response of four octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusCode {
    /// 0x01: CheckMac or Verify did not match.
    Miscompare,
    /// 0x03: length, opcode or parameter not allowed.
    Parse,
    /// 0x05: fault during elliptic-curve arithmetic.
    EccFault,
    /// 0x07: the chip failed a self test and stays disabled.
    SelfTest,
    /// 0x08: the random number generator failed its health test.
    HealthTest,
    /// 0x0F: the command is not allowed in the chip's present state.
    Execution,
    /// 0xEE: the watchdog would have expired; nothing was executed.
    Watchdog,
    /// 0xFF: the chip received a damaged packet; nothing was executed.
    Communication,
    /// Any other value.
    Other(u8),
}

impl StatusCode {
    /// Reads the status byte; `None` for 0x00, success.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => return None,
            0x01 => Self::Miscompare,
            0x03 => Self::Parse,
            0x05 => Self::EccFault,
            0x07 => Self::SelfTest,
            0x08 => Self::HealthTest,
            0x0F => Self::Execution,
            0xEE => Self::Watchdog,
            0xFF => Self::Communication,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Miscompare => f.write_str("0x01, no match"),
            Self::Parse => f.write_str("0x03, the chip does not know this command, parameter or length"),
            Self::EccFault => f.write_str("0x05, fault in the elliptic-curve arithmetic"),
            Self::SelfTest => f.write_str("0x07, the chip failed its self test"),
            Self::HealthTest => f.write_str("0x08, the random number generator failed its health test"),
            Self::Execution => f.write_str("0x0F, not allowed in the chip's present state (lock or slot configuration)"),
            Self::Watchdog => f.write_str("0xEE, the watchdog was about to expire"),
            Self::Communication => f.write_str("0xFF, the chip received a damaged packet"),
            Self::Other(b) => write!(f, "{b:#04X}, unknown status"),
        }
    }
}

/// Why the driver itself declined before asking the chip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The configuration is locked and is not the profile's.
    ForeignConfiguration(Vec<String>),
    /// An earlier step is missing.
    TooEarly(&'static str),
    /// The profile has no such slot.
    NoSuchStorage(&'static str),
    /// More octets than the slot holds.
    TooLong {
        /// Octets given.
        given: usize,
        /// Octets that fit.
        capacity: usize,
    },
    /// The chip is not the part the profile is for.
    WrongModel {
        /// Part found.
        found: String,
        /// Part that the profile names.
        wanted: String,
    },
    /// The profile is for parts that arrive locked, this one is open.
    NotPreprovisioned,
    /// The key in the chip is not the one to lock.
    OtherKey,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignConfiguration(fields) => {
                write!(
                    f,
                    "its configuration is locked and differs from the profile in {}; use the profile it was made with or scrap it",
                    fields.join("; ")
                )
            }
            Self::TooEarly(step) => write!(f, "{step} must come first"),
            Self::NoSuchStorage(name) => write!(f, "the chip profile has no slot with the role '{name}'; add one to the profile"),
            Self::TooLong { given, capacity } => {
                write!(
                    f,
                    "{given} octets do not fit into the {capacity} of this slot; store the certificate compressed or outside the chip"
                )
            }
            Self::WrongModel { found, wanted } => {
                write!(f, "the chip is an {found}, the profile is for {wanted}; choose the profile of this part")
            }
            Self::NotPreprovisioned => f.write_str(
                "the profile is for parts that arrive configured and locked, and this one is open; choose the profile of a blank part",
            ),
            Self::OtherKey => f.write_str("the key in the chip is not the certified one; generate and certify again, or scrap the chip"),
        }
    }
}

/// What can go wrong between the station and an element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The bus failed below the packet.
    #[error("bus: {0}")]
    Bus(#[from] TransportError),
    /// Nothing answers the wake pulse, or something else answers.
    #[error("no ATECC608 answers the wake pulse (got {got}); check wiring, supply and address")]
    Wake {
        /// What was read instead of `04113343`.
        got: String,
    },
    /// The chip took longer than its worst case.
    #[error("{command} has no answer after {milliseconds} ms; power-cycle the chip and read its state")]
    Timeout {
        /// The command.
        command: &'static str,
        /// Milliseconds waited.
        milliseconds: u64,
    },
    /// The answer is not a valid packet although it was read repeatedly.
    #[error("{command}: damaged answer ({reason}); check the bus (speed, pull-ups)")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is wrong with the packet.
        reason: String,
    },
    /// A command that changes the chip for good was sent and its answer was lost.
    #[error("{command} may or may not have been executed; read the element's status before going on")]
    OutcomeUnknown {
        /// The command.
        command: &'static str,
    },
    /// The chip answered with an error status.
    #[error("the chip refuses {command}: status {status}")]
    Status {
        /// The command.
        command: &'static str,
        /// Its status.
        status: StatusCode,
    },
    /// The driver declined before any command.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Memory does not hold what was written.
    #[error("{what} reads back otherwise than written: {found}, not {wanted}; scrap the chip")]
    ReadBack {
        /// Which memory.
        what: String,
        /// Octets found, hexadecimal.
        found: String,
        /// Octets wanted, hexadecimal.
        wanted: String,
    },
    /// A signature or other proof by the chip does not hold.
    #[error("the chip's answer to {command} is wrong: {reason}; scrap the chip")]
    Untrustworthy {
        /// The command.
        command: &'static str,
        /// What does not hold.
        reason: &'static str,
    },
    /// The chip profile file is not usable.
    #[error("chip profile: {0}")]
    Profile(String),
    /// The emulated chip's state file is not usable.
    #[error("emulated chip: {0}")]
    EmulatorState(String),
}
