//! The checked ceremony: valid by construction, linted, its input files read.

use super::crl::CrlWork;
use super::error::CeremonyError;
use super::fault::Checks;
use super::new_ca::NewCa;
use super::outputs::{self, Output};
use super::parts::{Existing, TokenRole, existing, read_bounded, refuse};
use super::quorum::Quorum;
use super::spec::{RawCeremony, VERSION};
use sha2::{Digest, Sha256};
use std::path::Path;

const MAX_TITLE: usize = 120;

/// What a ceremony is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    Intermediate,
    Rotate,
    Cross,
    Crl,
    RestoreDrill,
    DestroyKey,
}

impl Kind {
    const ALL: [Self; 7] = [Self::Root, Self::Intermediate, Self::Rotate, Self::Cross, Self::Crl, Self::RestoreDrill, Self::DestroyKey];

    /// As written in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
            Self::Rotate => "rotate",
            Self::Cross => "cross",
            Self::Crl => "crl",
            Self::RestoreDrill => "restore-drill",
            Self::DestroyKey => "destroy-key",
        }
    }

    /// Tables that this kind needs beside `[outputs]`, and files that it makes beside journal and
    /// transcript. Everything else is refused.
    fn needs(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Root => (&["key", "certificate"], &["certificate"]),
            Self::Intermediate => (&["key", "issuer", "certificate"], &["request", "certificate", "chain"]),
            Self::Rotate => (&["key", "issuer", "certificate", "previous"], &["request", "certificate", "chain"]),
            Self::Cross => (&["issuer", "certificate", "subject"], &["certificate"]),
            Self::Crl => (&["issuer", "crl"], &["crl"]),
            Self::RestoreDrill => (&["existing"], &["request"]),
            Self::DestroyKey => (&["existing", "approvals"], &[]),
        }
    }
}

/// What is done, by kind.
#[derive(Clone, Debug)]
pub(super) enum Work {
    NewCa(Box<NewCa>),
    Crl(Box<CrlWork>),
    Drill(Existing),
    Destroy(Existing),
}

/// A ceremony that may be carried out. There is no other way to make one than [`Ceremony::read`].
#[derive(Clone, Debug)]
pub struct Ceremony {
    pub(super) name: String,
    pub(super) digest: [u8; 32],
    pub(super) title: String,
    pub(super) test: bool,
    pub(super) kind: Kind,
    pub(super) work: Work,
    pub(super) quorum: Option<Quorum>,
    pub(super) outputs: Vec<Output>,
    pub(super) journal: Output,
    pub(super) transcript: Output,
}

impl Ceremony {
    /// Reads and checks the file, its input files and the certificate that it would make. Touches
    /// no token and writes nothing. Paths in the file are relative to the file.
    pub fn read(path: &Path) -> Result<Self, CeremonyError> {
        let unreadable = |reason: String| CeremonyError::Unreadable { path: path.display().to_string(), reason };
        let bytes = read_bounded(path).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("not UTF-8".into()))?;
        let mut checks = Checks::new(path.display().to_string(), text);
        let raw: RawCeremony = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                checks.fault(error.span().unwrap_or(0..0), error.message());
                return Err(CeremonyError::Faulty(checks.into_faults()));
            }
        };
        let base = path.parent().unwrap_or(Path::new(""));
        let checked = Self::check(&raw, base, &mut checks);
        match (checked, checks.into_faults()) {
            (Some(mut ceremony), faults) if faults.is_empty() => {
                ceremony.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                ceremony.digest = Sha256::digest(&bytes).into();
                Ok(ceremony)
            }
            (_, faults) => Err(CeremonyError::Faulty(faults)),
        }
    }

    fn check(raw: &RawCeremony, base: &Path, checks: &mut Checks<'_>) -> Option<Self> {
        let version = *raw.version.get_ref();
        checks.refuse_if(version != VERSION, raw.version.span(), format!("version {version} is not {VERSION}, the only one known"));
        let wanted = raw.kind.get_ref();
        let Some(kind) = Kind::ALL.into_iter().find(|k| k.name() == wanted) else {
            let names = Kind::ALL.map(Kind::name).join(", ");
            return refuse(checks, raw.kind.span(), &format!("kind '{wanted}' is not one of {names}"));
        };
        let test = match raw.purpose.get_ref().as_str() {
            "test" => true,
            "production" => false,
            other => return refuse(checks, raw.purpose.span(), &format!("purpose '{other}' is not test or production")),
        };
        let title = raw.title.get_ref();
        let bad_title = title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(char::is_control);
        checks.refuse_if(bad_title, raw.title.span(), format!("title has 1 to {MAX_TITLE} characters without control characters"));
        let (tables, files) = kind.needs();
        let complete = check_tables(raw, kind, tables, checks);
        let quorum = match &raw.approvals {
            Some(table) => Quorum::check(table.get_ref(), base, checks).map(Some),
            None => Some(None),
        };
        checks.refuse_if(!test && raw.approvals.is_none(), raw.purpose.span(), "a production ceremony needs an [approvals] table");
        let outputs = outputs::check(&raw.outputs, kind.name(), files, base, checks);
        if !complete {
            return None;
        }
        let work = Self::work(raw, kind, test, base, checks);
        Some(Self {
            name: String::new(),
            digest: [0; 32],
            title: title.clone(),
            test,
            kind,
            work: work?,
            quorum: quorum?,
            outputs: outputs?,
            journal: Output::new("journal", &raw.outputs.get_ref().journal, base),
            transcript: Output::new("transcript", &raw.outputs.get_ref().transcript, base),
        })
    }

    fn work(raw: &RawCeremony, kind: Kind, test: bool, base: &Path, checks: &mut Checks<'_>) -> Option<Work> {
        let existing = |checks: &mut Checks<'_>| existing(raw.existing.as_ref()?.get_ref(), base, checks);
        match kind {
            Kind::Root | Kind::Intermediate | Kind::Rotate | Kind::Cross => {
                NewCa::check(raw, kind, test, base, checks).map(Box::new).map(Work::NewCa)
            }
            Kind::Crl => CrlWork::check(raw, base, checks).map(Box::new).map(Work::Crl),
            Kind::RestoreDrill => existing(checks).map(Work::Drill),
            Kind::DestroyKey => existing(checks).map(Work::Destroy),
        }
    }

    /// The tokens that [`Ceremony::run`] logs in to.
    pub fn tokens(&self) -> Vec<&TokenRole> {
        match &self.work {
            Work::NewCa(work) => work.tokens(),
            Work::Crl(work) => vec![&work.issuer.token],
            Work::Drill(existing) | Work::Destroy(existing) => vec![&existing.token],
        }
    }
}

/// Every table that the kind needs is there and no other one.
fn check_tables(raw: &RawCeremony, kind: Kind, needed: &[&str], checks: &mut Checks<'_>) -> bool {
    let present = [
        ("key", raw.key.as_ref().map(|t| t.span())),
        ("issuer", raw.issuer.as_ref().map(|t| t.span())),
        ("certificate", raw.certificate.as_ref().map(|t| t.span())),
        ("previous", raw.previous.as_ref().map(|t| t.span())),
        ("subject", raw.subject.as_ref().map(|t| t.span())),
        ("existing", raw.existing.as_ref().map(|t| t.span())),
        ("crl", raw.crl.as_ref().map(|t| t.span())),
    ];
    let mut complete = true;
    for (name, span) in present {
        match (span, needed.contains(&name)) {
            (None, true) => {
                complete = false;
                checks.fault(raw.kind.span(), format!("kind {} needs a [{name}] table", kind.name()));
            }
            (Some(span), false) => checks.fault(span, format!("kind {} takes no [{name}] table: remove it", kind.name())),
            _ => {}
        }
    }
    let unapproved = needed.contains(&"approvals") && raw.approvals.is_none();
    checks.refuse_if(unapproved, raw.kind.span(), format!("kind {} needs an [approvals] table", kind.name()));
    complete
}
