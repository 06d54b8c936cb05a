//! The people who must approve the plan, and whether enough of them have.

use super::error::CeremonyError;
use super::fault::Checks;
use super::file::Ceremony;
use super::journal::ApprovalLine;
use super::parts::read_bounded;
use super::plan::PlanText;
use super::spec::RawApprovals;
use crate::approval::Roster;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// SSHSIG namespace of plan approvals.
pub const NAMESPACE: &str = "ceremony@sealwright";

/// `required` of the people in the roster must sign the plan's text.
#[derive(Clone, Debug)]
pub(super) struct Quorum {
    pub roster: Roster,
    pub roster_file: String,
    pub roster_sha256: String,
    pub required: usize,
    signatures: Vec<(String, PathBuf)>,
}

impl Quorum {
    pub(super) fn check(raw: &RawApprovals, base: &Path, checks: &mut Checks<'_>) -> Option<Self> {
        let file = raw.roster.get_ref();
        let bytes = checks.take(raw.roster.span(), read_bounded(&base.join(file)).map_err(|e| format!("{file}: {e}")))?;
        let roster = checks.take(raw.roster.span(), Roster::parse(&String::from_utf8_lossy(&bytes)))?;
        let people = roster.people().len();
        let required = usize::try_from(*raw.required.get_ref()).ok().filter(|n| (1..=people).contains(n));
        let required =
            checks.take(raw.required.span(), required.ok_or_else(|| format!("required is 1 to {people}, the people in {file}")))?;
        let listed = raw.signatures.get_ref();
        let too_few = format!("lists {} files; {required} approvals are required", listed.len());
        checks.refuse_if(listed.len() < required || listed.len() > people, raw.signatures.span(), too_few);
        let signatures = listed.iter().map(|s| (s.get_ref().clone(), base.join(s.get_ref()))).collect();
        let roster_sha256 = hex::encode(Sha256::digest(&bytes));
        Some(Self { roster, roster_file: file.clone(), roster_sha256, required, signatures })
    }
}

impl Ceremony {
    /// Checks the approvals of `plan` at `now`: each file that exists must be a good approval of
    /// this very plan by a different person, and there must be enough. Gives them for the journal.
    pub(super) fn approvals(&self, plan: &PlanText, now: i64) -> Result<Vec<ApprovalLine>, CeremonyError> {
        let Some(quorum) = &self.quorum else { return Ok(Vec::new()) };
        let (mut good, mut missing, mut people) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (file, path) in &quorum.signatures {
            if !path.exists() {
                missing.push(file.as_str());
                continue;
            }
            let refuse = |reason: String| CeremonyError::Approval(format!("{file}: {reason}"));
            let bytes = read_bounded(path).map_err(refuse)?;
            let person = quorum.roster.verify(NAMESPACE, plan.as_str().as_bytes(), &bytes, now).map_err(refuse)?;
            if !people.insert(person.name()) {
                return Err(refuse(format!("{} approved twice; another person must", person.name())));
            }
            let sha256 = hex::encode(Sha256::digest(&bytes));
            good.push(ApprovalLine { name: person.name().to_owned(), key: person.fingerprint(), file: file.clone(), sha256 });
        }
        if good.len() < quorum.required {
            return Err(CeremonyError::Approval(format!(
                "{} of {} required approvals; missing: {}. Each approver runs: sealwright ceremony {} --dry-run > plan.txt, compares the \
                 SHA-256 {} with the others, then ssh-keygen -Y sign -n {NAMESPACE} -f KEY plan.txt",
                good.len(),
                quorum.required,
                missing.join(", "),
                self.name,
                plan.sha256()
            )));
        }
        Ok(good)
    }
}
