//! ATECC608 driver: packets, commands and the provisioning steps over any transport.

pub mod attestation;
pub mod command;
pub mod definition;
mod driver;
mod link;
pub mod packet;
mod permissions;
pub mod profile;
mod provisioning;
pub mod slots;
pub mod zones;

pub use driver::Atecc608;
pub use profile::ChipProfile;
