//! Shipped profiles from request to certificate, judged by tools that share no code with us.

mod decisions;
mod judges;
mod mint;
