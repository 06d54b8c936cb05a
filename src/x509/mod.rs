//! Pure DER in, DER out: requests, to-be-signed certificates, lint, path validation.

pub mod chain;
pub mod compressed;
pub mod csr;
pub mod facts;
pub mod keys;
pub mod lint;
pub mod pem;
pub mod plan;
pub mod sign;
pub mod spki;
pub mod status;
pub mod tbs;
pub mod text;
