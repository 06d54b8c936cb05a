//! Policy: profiles as data, deny by default, and decisions that name every failed rule.
//!
//! `spec` (TOML as written) → [`profile::Profile`] (valid by construction) →
//! [`decide::decide`] (caller, request, identity, issuer, time → [`decide::Approved`] or
//! [`decide::Refusals`]). [`set::PolicySet`] is a directory of profiles under one hash.

pub mod bundle;
pub mod cases;
mod custom;
pub mod decide;
pub mod describe;
pub mod explain;
pub mod extensions;
pub mod identity;
pub mod names;
pub mod problem;
pub mod profile;
pub mod sample;
pub mod set;
mod spec;
pub mod template;
pub mod validity;
