//! Where a command takes a PIN from: a private file, an inherited descriptor, or the operator.

use super::Failure;
use sealwright::token::Pin;
use std::io::IsTerminal;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The choice of one PIN source; without one, the operator is asked.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PinArgs {
    /// File of mode 0600 that holds the user PIN.
    #[arg(long, value_name = "PATH", conflicts_with = "pin_fd")]
    pub pin_file: Option<PathBuf>,
    /// Inherited descriptor from which to read the user PIN, e.g. `3 3< <(get-pin)`.
    #[arg(long, value_name = "N")]
    pub pin_fd: Option<u32>,
}

impl PinArgs {
    /// Reads the PIN; `whose` names the token in the prompt.
    pub fn read(&self, whose: &str) -> Result<Pin, Failure> {
        match (&self.pin_file, self.pin_fd) {
            (Some(path), _) => Ok(Pin::from_file(path)?),
            (None, Some(descriptor)) => Ok(Pin::from_descriptor(descriptor)?),
            (None, None) if std::io::stdin().is_terminal() => {
                let typed = rpassword::prompt_password(format!("User PIN of {whose}: ")).map(Zeroizing::new)?;
                Ok(Pin::new(typed)?)
            }
            (None, None) => Err(format!("no PIN for {whose}: give --pin-file or --pin-fd, or run this at a terminal").into()),
        }
    }
}
