//! The certificate authority: the issuance line, its log, ceremonies and provisioning.

pub mod artifact;
pub mod ceremony;
pub mod issue;
pub mod provision;
pub mod publish;
mod refuse;
mod turns;
