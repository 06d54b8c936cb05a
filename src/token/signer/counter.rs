//! How often a key has signed, durable: blocks are reserved ahead, so a restart never counts less.

use crate::durable;
use crate::token::TokenError;
use std::path::{Path, PathBuf};

/// Signatures reserved by one write; the most that a crash makes the count too high.
const BLOCK: u64 = 1000;

#[derive(Debug)]
pub(super) struct Counter {
    path: PathBuf,
    used: u64,
    reserved: u64,
}

impl Counter {
    /// Reads the count, or begins at zero when there is no file yet.
    pub(super) fn open(path: &Path) -> Result<Self, TokenError> {
        let refuse = |reason: String| TokenError::Environment(format!("signature counter {}: {reason}", path.display()));
        let used = match std::fs::read_to_string(path) {
            Ok(text) => text.trim_end().strip_prefix("1 ").and_then(|n| n.parse().ok()).ok_or_else(|| refuse("damaged".into()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(refuse(e.to_string())),
        };
        Ok(Self { path: path.to_owned(), used, reserved: used })
    }

    /// Takes one of `total`.
    pub(super) fn take(&mut self, total: u64) -> Result<(), TokenError> {
        if self.used >= total {
            return Err(TokenError::GuardRefused(format!(
                "the key has made all {total} signatures that its guard allows; an operator must raise 'total'"
            )));
        }
        if self.used >= self.reserved {
            let next = self.reserved.saturating_add(BLOCK).min(total);
            durable::replace(&self.path, format!("1 {next}\n").as_bytes(), 0o600)
                .map_err(|e| TokenError::Unavailable(format!("signature counter {}: {e}", self.path.display())))?;
            self.reserved = next;
        }
        self.used += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_never_counts_less_and_the_end_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("count");
        let mut first = Counter::open(&path).unwrap();
        (0..10).for_each(|_| first.take(1500).unwrap());
        let mut second = Counter::open(&path).unwrap();
        (0..500).for_each(|_| second.take(1500).unwrap());
        assert!(matches!(second.take(1500), Err(TokenError::GuardRefused(_))));
        assert!(matches!(Counter::open(&path).unwrap().take(1500), Err(TokenError::GuardRefused(_))));
        std::fs::write(&path, "x").unwrap();
        assert!(Counter::open(&path).is_err());
    }
}
