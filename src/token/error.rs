//! Why a token did not do what was asked, and the translation of PKCS#11 return values.

use super::attributes::Offence;
use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

/// Failures of the token layer, told apart by what an operator must do about them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not exactly one token of the module matches.
    #[error("no such token: {0}")]
    NoSuchToken(String),
    /// The token is there, the key is not.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// The key exists and is not what it must be (K2).
    #[error("wrong key: '{label}' is refused: {}", Offence::join(offences))]
    WrongKey {
        /// CKA_LABEL of the key.
        label: String,
        /// Every attribute that reads back otherwise than wanted.
        offences: Vec<Offence>,
    },
    /// Creation never overwrites (K4).
    #[error("key exists: the token already holds a key labelled '{0}'; choose another label or use the key that is there")]
    KeyExists(String),
    /// C_Login refused the PIN; no second attempt is made by this process (K5).
    #[error("wrong PIN: {0}")]
    PinRefused(String),
    /// The PIN cannot be had: missing file, open permissions, empty.
    #[error("no PIN: {0}")]
    PinSource(String),
    /// A PKCS#11 call failed in a way that trying again does not cure.
    #[error("the token failed: {call} returned {code}; look at the device and its log, then restart")]
    DeviceFailed {
        /// PKCS#11 function, e.g. `C_Sign`.
        call: String,
        /// Return value, e.g. `CKR_DEVICE_ERROR`.
        code: String,
    },
    /// Not now: queue full, too many sessions, shutting down.
    #[error("the token is unavailable: {0}")]
    Unavailable(String),
    /// The token does not offer this algorithm or attribute.
    #[error("unsupported by the token: {0}")]
    Unsupported(String),
    /// The PKCS#11 module cannot be loaded or initialised.
    #[error("cannot use the PKCS#11 module: {0}")]
    Environment(String),
    /// The sealed guard of the key does not allow this message; the token was not asked.
    #[error("the key's guard refuses: {0}")]
    GuardRefused(String),
    /// Not a PKCS#11 URI that names a token (RFC 7512).
    #[error("bad PKCS#11 URI: {0}")]
    Uri(String),
}

/// Name of a PKCS#11 function as the specification spells it.
fn call_name(function: Function) -> String {
    format!("C_{function:?}")
}

/// `PinIncorrect` → `CKR_PIN_INCORRECT`.
fn code_name(rv: &RvError) -> String {
    let plain = match rv {
        RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => return format!("0x{code:08x}"),
        other => format!("{other:?}"),
    };
    let mut out = String::from("CKR");
    for c in plain.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        let (rv, function) = match error {
            Error::Pkcs11(rv, function) => (rv, function),
            Error::LibraryLoading(e) => return Self::Environment(e.to_string()),
            other => return Self::DeviceFailed { call: "the PKCS#11 module".into(), code: other.to_string() },
        };
        let told = format!("{} returned {}", call_name(function), code_name(&rv));
        match rv {
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::KeySizeRange
            | RvError::FunctionNotSupported
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::AttributeReadOnly
            | RvError::TemplateInconsistent
            | RvError::TemplateIncomplete => Self::Unsupported(told),
            RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Self::NoSuchKey(format!("it has left the token ({told})")),
            RvError::SessionCount | RvError::HostMemory | RvError::DeviceMemory | RvError::FunctionCanceled => Self::Unavailable(told),
            RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid => Self::NoSuchToken(told),
            RvError::PinIncorrect | RvError::PinLocked | RvError::PinExpired | RvError::PinInvalid | RvError::PinLenRange => {
                Self::PinRefused(told)
            }
            rv => Self::DeviceFailed { call: call_name(function), code: code_name(&rv) },
        }
    }
}
