//! Output files: absent before, created exclusively, completed after an interruption.

use super::error::CeremonyError;
use super::fault::Checks;
use super::spec::RawOutputs;
use crate::durable;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// One file that the ceremony makes.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub role: &'static str,
    /// As written in the ceremony file: what plan and transcript show.
    pub shown: String,
    pub path: PathBuf,
}

impl Output {
    pub(super) fn new(role: &'static str, path: &Spanned<String>, base: &Path) -> Self {
        Self { role, shown: path.get_ref().clone(), path: base.join(path.get_ref()) }
    }

    fn refuse(&self, reason: impl Into<String>) -> CeremonyError {
        CeremonyError::Output { path: self.path.display().to_string(), reason: reason.into() }
    }

    /// Refuses an existing file (also a dangling link) and a directory that cannot be written to.
    pub(super) fn must_be_absent(&self) -> Result<(), CeremonyError> {
        if self.path.symlink_metadata().is_ok() {
            return Err(self.refuse("exists and would be overwritten; move it away or choose another name"));
        }
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
        if !parent.is_dir() || writable.is_err() {
            return Err(self.refuse("its directory is missing or not writable; create it first"));
        }
        Ok(())
    }

    /// Creates the file. When the ceremony was interrupted, what it had already written of these
    /// very bytes is completed; anything else is refused.
    pub(super) fn write(&self, bytes: &[u8], resumed: bool) -> Result<(), CeremonyError> {
        match durable::create_new(&self.path, bytes, 0o644) {
            Ok(()) => Ok(()),
            Err(e) if resumed && e.kind() == ErrorKind::AlreadyExists => {
                let there = std::fs::read(&self.path).map_err(|e| self.refuse(e.to_string()))?;
                if !bytes.starts_with(&there) {
                    return Err(self.refuse("was replaced by something else since the ceremony was interrupted; move it away"));
                }
                durable::replace(&self.path, bytes, 0o644).map_err(|e| self.refuse(e.to_string()))
            }
            Err(e) => Err(self.refuse(e.to_string())),
        }
    }
}

/// The files that a kind makes, each named and none twice.
pub(super) fn check(raw: &Spanned<RawOutputs>, kind: &str, needed: &[&str], base: &Path, checks: &mut Checks<'_>) -> Option<Vec<Output>> {
    let table = raw.get_ref();
    let optional = [("certificate", &table.certificate), ("request", &table.request), ("chain", &table.chain), ("crl", &table.crl)];
    let mut out = Vec::new();
    for (role, path) in optional {
        match (path, needed.contains(&role)) {
            (Some(path), true) => out.push(Output::new(role, path, base)),
            (None, true) => checks.fault(raw.span(), format!("name the {role} file: {role} = \"…\"")),
            (Some(path), false) => checks.fault(path.span(), format!("a {kind} ceremony makes no {role}")),
            (None, false) => {}
        }
    }
    let all: Vec<_> = [&table.journal, &table.transcript].into_iter().chain(optional.iter().filter_map(|(_, p)| p.as_ref())).collect();
    for (n, path) in all.iter().enumerate() {
        let twice = all.iter().take(n).any(|p| base.join(p.get_ref()) == base.join(path.get_ref()));
        checks.refuse_if(twice, path.span(), "two outputs have the same path");
        checks.refuse_if(path.get_ref().is_empty(), path.span(), "an output needs a file name");
    }
    Some(out)
}
