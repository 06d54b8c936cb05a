//! Ceremonies: one reviewed TOML file is the only input.
//!
//! [`Ceremony::read`] checks the whole file and lints every certificate that it would make, with a
//! stand-in for the key that does not exist yet; [`Ceremony::plan`] is the text that operators
//! approve by its SHA-256; [`Ceremony::run`] touches the tokens, writing each step to a durable
//! journal before doing it, so that the same command after any interruption goes on with the same
//! key; the transcript is rendered from that journal alone.

mod certificate;
mod crl;
mod error;
mod fault;
mod file;
mod journal;
mod new_ca;
mod outputs;
mod parts;
mod plan;
mod quorum;
mod run;
mod spec;
mod standin;
mod steps;
mod transcript;

pub use error::CeremonyError;
pub use fault::Fault;
pub use file::Ceremony;
pub use parts::TokenRole;
pub use plan::PlanText;
pub use quorum::NAMESPACE;
pub use run::{Outcome, Pins};
