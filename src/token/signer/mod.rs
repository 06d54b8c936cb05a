//! The signer process: the vendor's module and the PIN live there and nowhere else.
//!
//! The daemon hands whole messages over a socketpair; the signer parses each, holds it against the
//! sealed guard of the key, hashes it and signs. A module that hangs or crashes takes the signer
//! with it, not the daemon: the client kills it at the deadline and starts another.

mod counter;
mod guard;
mod guard_file;
mod remote;
mod wire;
mod worker;

pub use guard::Guard;
pub use guard_file::GuardFile;
pub use remote::{Health, RemoteSigner, SignerOptions};
pub use worker::serve;
