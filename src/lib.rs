//! # Sealwright
//!
//! A certificate authority for device factories whose keys live in a PKCS#11 token.
//!
//! ## Layers
//! `{types, durable, approval} ← x509 ← {policy, artifact} ← {log, store, token, device} ← ca ← {config} ← api ← bin`.
//! Braced siblings never import each other; `tests/layers.rs` reads the `use` lines and enforces it.
//!
//! ## Invariants
//! - **I1** No signature without a durable intent written before it.
//! - **I2** At most one certificate per request and per serial.
//! - **I3** Every acknowledged certificate is retrievable, byte for byte.
//! - **I4** Every older checkpoint stays consistent with newer ones.
//! - **I5** CRL numbers and times only rise.
//! - **I6** A refusal is explicit, names its rule and is logged.
//! - **K1** Only [`token`] talks PKCS#11.
//! - **K2** Every private key is generated in the token with every relevant attribute set
//!   explicitly, read back, and checked again at every start; a key that reads back otherwise is refused.
//! - **K3** Tokens are named by serial number, keys by public-key fingerprint (RFC 7512 URI), never by slot.
//! - **K4** Creation is explicit and refuses to overwrite; loading never creates.
//! - **K5** Wrong PIN: exactly one C_Login, then latch.
//! - **P1** The certificate's public key is the requester's, after proof of possession.
//! - **P2** Deny by default.
//! - **P3** No leaf outlives its issuer unless the profile says so (802.1AR 9999-12-31).
//! - **A1** No audit entry, no action.
//! - **A2** Domain types are not serde types: raw type → one fallible constructor → domain type.
//! - **T1** Soft tokens mark what they sign as TEST; a production policy refuses a soft token.
//!
//! ## The three paths
//!
//! **Issuance** ([`ca::issue`]), one straight line an auditor can read aloud: bounded read and the
//! kernel's word on who calls → [`x509::csr::VerifiedCsr`] (possession proved) → replay of an
//! answered request → [`policy::decide`] → serial → [`x509::tbs::Tbs`] → [`x509::tbs::Linted`] →
//! durable intent → the token signs the whole TBS → signature verified and TBS compared → durable
//! certificate with its log entry, one transaction → reply. Each type is the only way to the next.
//! An answered request is answered with the same bytes before policy is asked again: what was
//! promised stays promised. An intent that a crash left without a certificate is marked unknown,
//! listed, and never signed again; its request gets a new serial.
//!
//! **Ceremony** ([`ca::ceremony`]): one reviewed TOML file is the only input, everything is checked
//! and linted before the token is touched, a journal makes any interruption resumable.
//!
//! **Provisioning** ([`ca::provision`]): the element answers for its own state, a journal for what
//! the element cannot know; nothing is locked that was not read back and compared.
//!
//! ## The log
//! The store is the log's write-ahead journal: an entry becomes durable in the transaction of what
//! it tells of, so there is no action without an entry (A1) and no entry without its action. A
//! publisher ([`ca::publish`]) moves entries to C2SP tiles (entries → tiles → state → checkpoint)
//! and prunes them from the store; after a crash it repeats itself, and the log refuses anything
//! that differs from what it holds. Private metadata stays in the store; the log commits to it by
//! a salted hash.
//!
//! ## Trust boundaries
//! Callers are known by the uid that the kernel gives, and mapped to one role each; a role and a
//! profile must both name each other. PINs come from a private file or a descriptor. Keys in soft
//! tokens are for tests and say so in what they sign (T1).

pub mod api;
pub mod approval;
pub mod artifact;
pub mod ca;
pub mod config;
pub mod device;
pub mod durable;
pub mod log;
pub mod policy;
pub mod store;
pub mod token;
pub mod types;
pub mod x509;
