//! The only place that syncs: create-new, atomic replace, append.
//!
//! Contract: when a function returns `Ok`, the bytes and the directory entry are on stable
//! storage (file `fsync`, then directory `fsync`). On `Err` nothing may be assumed of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Creates `path` exclusively (mode `mode`), writes `bytes`, syncs file and directory.
/// Fails with [`io::ErrorKind::AlreadyExists`] rather than overwrite (K4).
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_directory(path)
}

/// Replaces `path` atomically: temporary file beside it, sync, rename, directory sync.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new.{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Appends `bytes` and syncs the data; creates the file (mode 0600) when absent.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    if fresh { sync_directory(path) } else { Ok(()) }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_refuses_to_overwrite_and_replace_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create_new(&path, b"one", 0o600).unwrap();
        let again = create_new(&path, b"two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", 0o600).unwrap();
        append(&path, b"!").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three!");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
