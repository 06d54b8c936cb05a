//! The only place that syncs: create-new, atomic replace, append.
//!
//! Contract: when a function returns `Ok`, the bytes and the directory entry are on stable
//! storage (file `fsync`, then directory `fsync`). On `Err` nothing may be assumed of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// Cuts a file to `length` bytes, durably: what a power cut left of a write that never returned.
pub fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Creates a directory and its missing parents (mode 0755 and the umask), each one durable in its parent.
pub fn create_directories(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_directories(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => sync_directory(path),
    }
}

/// Writes files that never change again, with their directories. One that exists with the same
/// bytes is synced and kept, so a step that a crash cut short can simply be done again; one that
/// exists with other bytes is an error of kind [`io::ErrorKind::AlreadyExists`] and nothing is
/// written. The temporary name is fixed (`NAME.new`): the caller holds the directory's lock.
pub fn write_once(files: &[(PathBuf, Vec<u8>)], mode: u32) -> io::Result<()> {
    let mut fresh = Vec::new();
    for (path, bytes) in files {
        match std::fs::read(path) {
            Ok(there) if there == *bytes => File::open(path)?.sync_all()?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} holds other bytes", path.display()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => fresh.push((path, bytes)),
            Err(e) => return Err(e),
        }
    }
    for (path, bytes) in fresh {
        create_directories(path.parent().unwrap_or(Path::new("")))?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".new");
        let temporary = path.with_file_name(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
    }
    // Files of one directory stand together as a rule: one sync for each run of them.
    let mut synced = None;
    for (path, _) in files {
        if synced != Some(path.parent()) {
            sync_directory(path)?;
            synced = Some(path.parent());
        }
    }
    Ok(())
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

    #[test]
    fn files_written_once_can_be_written_again_but_not_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| (dir.path().join(name), bytes.to_vec());
        write_once(&[file("a/b/1", b"one"), file("a/b/2", b"two"), file("c/3", b"three")], 0o644).unwrap();
        std::fs::write(dir.path().join("a/b/4.new"), b"cut sh").unwrap();
        write_once(&[file("a/b/2", b"two"), file("a/b/4", b"four")], 0o644).unwrap();
        let refused = write_once(&[file("a/b/5", b"five"), file("a/b/1", b"eins")], 0o644).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(dir.path().join("a/b")).unwrap().count(), 3);
        assert_eq!(std::fs::read(dir.path().join("a/b/1")).unwrap(), b"one");
    }
}
