//! User PINs: read once, wiped when dropped, never in an argument, the environment or a log.

use super::TokenError;
use cryptoki::types::AuthPin;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest PIN accepted, bytes; tokens say 255 at most.
const MAX_PIN: usize = 255;

/// A user PIN. Has no `Debug` output of its content and is zeroized on drop.
pub struct Pin(AuthPin);

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl Pin {
    /// A PIN typed by an operator: 1 to 255 bytes without control characters.
    pub fn new(text: Zeroizing<String>) -> Result<Self, TokenError> {
        if text.is_empty() || text.len() > MAX_PIN || text.chars().any(char::is_control) {
            return Err(TokenError::PinSource(format!("a PIN has 1 to {MAX_PIN} bytes without control characters")));
        }
        // A boxed str has no spare capacity, so the copy that AuthPin wipes is the only one.
        Ok(Self(AuthPin::new(text.as_str().into())))
    }

    /// Reads a credential file: a regular file of mode 0600 or 0400 that belongs to this user or
    /// to root; one trailing line feed is dropped.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let shown = path.display();
        let refuse = |reason: String| TokenError::PinSource(format!("{shown}: {reason}"));
        let file = File::open(path).map_err(|e| refuse(e.to_string()))?;
        let meta = file.metadata().map_err(|e| refuse(e.to_string()))?;
        if !meta.is_file() {
            return Err(refuse("not a regular file".into()));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(refuse(format!("mode {:04o} lets others read the PIN; chmod 0600 {shown}", meta.mode() & 0o7777)));
        }
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me && meta.uid() != 0 {
            return Err(refuse(format!("belongs to uid {}, not to this user ({me}) or root; chown it", meta.uid())));
        }
        Self::read(file).map_err(|e| refuse(e.to_string()))
    }

    /// Reads an inherited descriptor (a pipe, as from `3< <(…)` or systemd) up to its end.
    pub fn from_descriptor(descriptor: u32) -> Result<Self, TokenError> {
        let refuse = |e: &dyn std::fmt::Display| TokenError::PinSource(format!("descriptor {descriptor}: {e}"));
        let file = File::open(format!("/dev/fd/{descriptor}")).map_err(|e| refuse(&e))?;
        Self::read(file).map_err(|e| refuse(&e))
    }

    fn read(mut source: File) -> Result<Self, TokenError> {
        let mut buffer = Zeroizing::new([0u8; MAX_PIN + 2]);
        let mut used = 0;
        while let Some(free) = buffer.get_mut(used..).filter(|free| !free.is_empty()) {
            match source.read(free) {
                Ok(0) => break,
                Ok(n) => used += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(TokenError::PinSource(e.to_string())),
            }
        }
        let bytes = buffer.get(..used).unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| TokenError::PinSource("the PIN is not UTF-8".into()))?;
        Self::new(Zeroizing::new(text.to_owned()))
    }

    pub(super) fn auth(&self) -> &AuthPin {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    #[test]
    fn only_private_non_empty_regular_files_give_a_pin() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8], mode| {
            let path = dir.path().join(name);
            durable::create_new(&path, content, mode).unwrap();
            Pin::from_file(&path).map(|_| ()).map_err(|e| e.to_string())
        };
        file("good", b"1234\n", 0o600).unwrap();
        file("strict", b"1234", 0o400).unwrap();
        assert!(file("open", b"1234", 0o644).unwrap_err().contains("chmod 0600"));
        assert!(file("empty", b"\n", 0o600).unwrap_err().contains("1 to 255"));
        assert!(file("long", &[b'1'; 300], 0o600).unwrap_err().contains("1 to 255"));
        assert!(file("two lines", b"1\n2\n", 0o600).unwrap_err().contains("control"));
        assert!(Pin::from_file(dir.path()).unwrap_err().to_string().contains("regular file"));
        assert_eq!(format!("{:?}", Pin::from_file(&dir.path().join("good")).unwrap()), "Pin(…)");
    }
}
