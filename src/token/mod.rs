//! PKCS#11 tokens: the only layer that talks to one (K1).
//!
//! - [`Module`] is a loaded and initialised vendor library; [`Token`] is one token of it, logged in
//!   with exactly one C_Login (K5), named by serial number or label, never by slot (K3);
//! - [`Key`] is a private key whose attributes were read back and found as wanted (K2);
//! - [`SignerPool`] lets asynchronous code sign through several sessions, each on its own thread;
//!   [`signer`] puts that pool into a process of its own, behind a guard; [`Signer`] is either.

mod attributes;
mod error;
mod generate;
mod key;
mod module;
mod pin;
mod pool;
mod public;
mod sign;
pub mod signer;
mod signing;
mod uri;

pub use attributes::{Attributes, Offence, required_attributes};
pub use error::TokenError;
pub use generate::new_key_id;
pub use key::{FoundKey, Key};
pub use module::{Module, Token, TokenInfo};
pub use pin::Pin;
pub use pool::SignerPool;
pub use signing::Signer;
pub use uri::TokenUri;
