//! The daemon's socket interface: HTTP/1.1 and JSON over unix sockets.

pub mod authority;
mod batch;
pub mod client;
pub mod daemon;
pub mod problem;
pub mod server;
pub mod wire;
