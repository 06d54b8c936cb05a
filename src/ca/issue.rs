//! The issuance line: one straight function that an auditor can read aloud.

use super::publish::{Publishing, Trouble};
use super::refuse::{conflict_refusal, lint_refusal, refusal};
use super::turns::Turns;
use crate::log::entry::{Commitment, Entry, Event, MAX_TEXT};
use crate::policy::decide::{Caller, IssuerContext, Refusals, decide};
use crate::policy::set::PolicySet;
use crate::store::{Begun, Conflict, Intent, Leaf, Outcome, Record, Rules, Store, Unresolved};
use crate::token::{Signer, TokenError};
use crate::types::{DeviceIdentity, Fingerprint, ProfileName, RequestId, Serial, unix_millis, unix_now};
use crate::x509::csr::VerifiedCsr;
use crate::x509::lint::lint_for;
use crate::x509::sign::ToSign;
use crate::x509::tbs::{Issuer, Linted, Tbs};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the token; after it nobody knows whether it signed.
const SIGN_DEADLINE: Duration = Duration::from_secs(15);

/// A typed request, before anything in it is believed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's idempotency key.
    pub id: RequestId,
    /// Profile asked for.
    pub profile: ProfileName,
    /// Device that the certificate shall name.
    pub identity: DeviceIdentity,
    /// PKCS#10 bytes, PEM or DER.
    pub csr: Vec<u8>,
}

/// An acknowledged certificate: exactly the stored record.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The stored record.
    pub record: Record,
    /// Whether it was stored by an earlier call.
    pub replayed: bool,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Rules said no; each was logged (I6).
    #[error("refused: {0}")]
    Refused(Refusals),
    /// Token, store or load: nothing was signed, the same request may be repeated.
    #[error("{0}")]
    Unavailable(String),
    /// The token may have signed; the serial is recorded as unknown.
    #[error("{reason} (serial {serial})")]
    Interrupted {
        /// Serial that is never used again.
        serial: Serial,
        /// Cause.
        reason: String,
    },
    /// A defect or damage on our side.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What the line works with; made once at start.
pub struct Issuance {
    pub(super) policy: PolicySet,
    pub(super) issuer: Issuer,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Fingerprint,
    pub(super) signer: Arc<Signer>,
    pub(super) store: Store,
    pub(super) soft_token: bool,
    trouble: Trouble,
    vkey: String,
    turns: Turns,
}

impl Issuance {
    /// Joins the parts. `chain` is DER, the issuing certificate first.
    pub fn new(
        policy: PolicySet,
        chain: Vec<Vec<u8>>,
        signer: Arc<Signer>,
        store: Store,
        publishing: &Publishing,
    ) -> Result<Self, IssueError> {
        let own = chain.first().ok_or_else(|| IssueError::Internal("the issuer's chain is empty".into()))?;
        let issuer = Issuer::from_certificate(own)?;
        let key = Fingerprint::of_spki(issuer.spki_der());
        let (trouble, vkey) = (publishing.trouble().clone(), publishing.vkey().to_string());
        let soft_token = signer.info().soft;
        Ok(Self { policy, issuer, chain, key, signer, store, soft_token, trouble, vkey, turns: Turns::default() })
    }

    /// Issues one certificate, or says why not. Every refusal is in the log before it is told.
    pub async fn issue(&self, caller: &Caller, allowed: &[ProfileName], request: Request) -> Result<Issued, IssueError> {
        let result = self.walk(caller, allowed, &request).await;
        if let Err(IssueError::Refused(refusals)) = &result {
            let rules: Vec<&str> = refusals.as_slice().iter().map(|r| r.rule).collect();
            self.record_refusal(caller, &request, &rules).await?;
        }
        result
    }

    /// The line itself.
    async fn walk(&self, caller: &Caller, allowed: &[ProfileName], request: &Request) -> Result<Issued, IssueError> {
        // P1: the key belongs to the requester.
        let csr = VerifiedCsr::from_bytes(&request.csr)?;

        // P2: deny by default.
        if !allowed.contains(&request.profile) {
            return Err(refusal(
                "role",
                format!("role '{}' may not use profile '{}'", caller.role(), request.profile),
                "ask for a profile of this role, or have the operator add it to the role",
            ));
        }

        // A request that was answered is answered with the same bytes, whatever changed since.
        let _turn = self.turns.wait(&request.id).await;
        if let Some(issued) = self.replay(caller, request, &csr)? {
            return Ok(issued);
        }

        let profile = self.policy.require(&request.profile)?;
        let context = IssuerContext { issuer: &self.issuer, soft_token: self.soft_token };
        let approved = decide(profile, caller, &csr, &request.identity, &context, unix_now())?;

        let serial = Serial::generate().map_err(|e| IssueError::Internal(e.to_string()))?;
        let tbs = Tbs::build(approved.plan(), &self.issuer, &serial)?;
        let linted = lint_for(tbs, &self.issuer, approved.standards()).map_err(|findings| lint_refusal(&findings))?;

        // I1: durable before the token is asked.
        let rules = Rules { device: profile.device_reuse(), key: profile.key_reuse(), quota: profile.quota() };
        let intent = self.intent(caller, request, &csr, &linted, serial);
        match self.store.begin(intent, rules).await? {
            Begun::New => {}
            Begun::Replay(record) => return Ok(Issued { record, replayed: true }),
            Begun::Conflict(conflict) => return Err(conflict_refusal(&conflict)),
        }

        // The token hashes the whole TBS; the result is verified and compared before it counts.
        let certificate = match self.sign(&linted).await {
            Ok(certificate) => certificate,
            Err(failure) => return Err(self.give_up(caller, serial, request, failure).await),
        };

        // I3: durable, with its log entry (A1), before anybody hears of it.
        let leaf = self.leaf(metadata(caller, request), Event::Issued(certificate.clone()))?;
        // A signature exists: when it cannot be recorded, its serial is known, and lost.
        let leaf = self.store.end(serial, Outcome::Issued(certificate.clone()), leaf).await;
        let leaf = leaf.map_err(|e| IssueError::Interrupted { serial, reason: e.to_string() })?;
        let record = Record {
            serial,
            certificate,
            leaf,
            device: request.identity.canonical(),
            profile: request.profile.to_string(),
            csr_sha256: digest(csr.der()),
            role: caller.role().to_owned(),
        };
        Ok(Issued { record, replayed: false })
    }

    fn replay(&self, caller: &Caller, request: &Request, csr: &VerifiedCsr) -> Result<Option<Issued>, IssueError> {
        let Some(record) = self.store.reader().by_request(&request.id)? else { return Ok(None) };
        if record.csr_sha256 != digest(csr.der()) || record.role != caller.role() {
            return Err(conflict_refusal(&Conflict::RequestReused));
        }
        Ok(Some(Issued { record, replayed: true }))
    }

    fn intent(&self, caller: &Caller, request: &Request, csr: &VerifiedCsr, linted: &Linted, serial: Serial) -> Intent {
        Intent {
            serial,
            request: request.id.clone(),
            csr_sha256: digest(csr.der()),
            profile: request.profile.clone(),
            policy: *self.policy.hash(),
            device: request.identity.canonical(),
            key: csr.fingerprint(),
            role: caller.role().to_owned(),
            uid: caller.uid(),
            tbs_sha256: digest(linted.der()),
            created_ms: unix_millis(),
        }
    }

    async fn sign(&self, linted: &Linted) -> Result<Vec<u8>, SignFailure> {
        let signed = self.signer.sign(&self.key, ToSign::Certificate(linted));
        let signature = match tokio::time::timeout(SIGN_DEADLINE, signed).await {
            Err(_) => return Err(SignFailure::Unknown(format!("the token did not answer within {} s", SIGN_DEADLINE.as_secs()))),
            Ok(Err(e @ TokenError::DeviceFailed { .. })) => return Err(SignFailure::Unknown(e.to_string())),
            Ok(Err(e)) => return Err(SignFailure::NotSigned(e.to_string())),
            Ok(Ok(signature)) => signature,
        };
        linted.attach(&self.issuer, &signature).map_err(|e| SignFailure::Unknown(format!("the token's signature is refused: {e}")))
    }

    /// Ends an intent that got no certificate. If even that cannot be recorded, the intent is
    /// found pending at the next start and marked unknown there.
    async fn give_up(&self, caller: &Caller, serial: Serial, request: &Request, failure: SignFailure) -> IssueError {
        let (outcome, reason) = match &failure {
            SignFailure::NotSigned(reason) => (Outcome::Failed, reason.clone()),
            SignFailure::Unknown(reason) => (Outcome::Unknown, reason.clone()),
        };
        tracing::error!(%serial, request = %request.id, %reason, "no certificate");
        let recorded = match self.leaf(metadata(caller, request), Event::Recovered(line(&format!("{serial} {reason}")))) {
            Ok(leaf) => self.store.end(serial, outcome, leaf).await.map_err(IssueError::from),
            Err(e) => Err(e),
        };
        match (failure, recorded) {
            (SignFailure::NotSigned(reason), Ok(_)) => IssueError::Unavailable(reason),
            (_, _) => IssueError::Interrupted { serial, reason },
        }
    }

    async fn record_refusal(&self, caller: &Caller, request: &Request, rules: &[&str]) -> Result<(), IssueError> {
        tracing::info!(role = caller.role(), uid = caller.uid(), request = %request.id, ?rules, "refused");
        self.note(metadata(caller, request), Event::Refused(rules.join(","))).await
    }

    /// Records that a uid without a role asked (I6).
    pub async fn record_stranger(&self, uid: u32) -> Result<(), IssueError> {
        tracing::info!(uid, "refused: no role");
        self.note(format!("uid={uid}"), Event::Refused("caller".into())).await
    }

    /// Records that what a caller sent is not a request at all (I6).
    pub async fn record_malformed(&self, caller: &Caller) -> Result<(), IssueError> {
        let (role, uid) = (caller.role(), caller.uid());
        tracing::info!(role, uid, "refused: not a certificate request");
        self.note(format!("role={role} uid={uid}"), Event::Refused("body".into())).await
    }

    /// Logs the intents that the store found without a certificate, at the start and after a disk failure.
    pub async fn record_recovered(&self) -> Result<(), IssueError> {
        let serials = self.store.take_recovered();
        let told = |s: &Serial| self.leaf(String::new(), Event::Recovered(format!("{s} was pending; it is unknown whether it was signed")));
        let leaves = serials.iter().map(told).collect::<Result<Vec<_>, _>>()?;
        if leaves.is_empty() {
            return Ok(());
        }
        let noted = self.store.note(leaves).await;
        if noted.is_err() {
            self.store.put_back_recovered(serials);
        }
        noted.map(drop).map_err(IssueError::from)
    }

    /// Appends an event to the log (A1).
    pub async fn note(&self, metadata: String, event: Event) -> Result<(), IssueError> {
        let leaf = self.leaf(metadata, event)?;
        self.store.note(vec![leaf]).await?;
        Ok(())
    }

    fn leaf(&self, metadata: String, event: Event) -> Result<Leaf, IssueError> {
        let internal = |e: String| IssueError::Internal(e);
        let mut salt = [0u8; 32];
        getrandom::fill(&mut salt).map_err(|e| internal(e.to_string()))?;
        let commitment = Commitment::new(&salt, metadata.as_bytes());
        let entry = Entry::new(unix_millis() as u64, commitment, Some(*self.policy.hash()), event).map_err(|e| internal(e.to_string()))?;
        Ok(Leaf { entry: entry.encode(), salt, metadata })
    }

    /// A stored certificate.
    pub fn find(&self, serial: &Serial) -> Result<Option<Issued>, IssueError> {
        Ok(self.store.reader().by_serial(serial)?.map(|record| Issued { record, replayed: true }))
    }

    /// Requests to walk the line at a time: more would be refused at the token, their intents spoilt.
    pub fn capacity(&self) -> usize {
        self.signer.capacity()
    }

    /// DER of the issuing certificate and those above it.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// How things stand.
    pub fn status(&self) -> Result<Status, IssueError> {
        let reader = self.store.reader();
        Ok(Status {
            certificates: reader.count()?,
            log_size: reader.log_size()?,
            unresolved: reader.unresolved(100)?,
            policy: *self.policy.hash(),
            soft_token: self.soft_token,
            problems: self.trouble.get().into_iter().collect(),
            vkey: self.vkey.clone(),
        })
    }
}

/// How things stand with the issuance line.
#[derive(Clone, Debug)]
pub struct Status {
    /// Certificates in the store.
    pub certificates: u64,
    /// Log entries appended.
    pub log_size: u64,
    /// Intents without a certificate, at most 100.
    pub unresolved: Vec<Unresolved>,
    /// SHA-256 of the policy in force.
    pub policy: [u8; 32],
    /// Whether the key lives in a soft token (T1).
    pub soft_token: bool,
    /// What is wrong at present.
    pub problems: Vec<String>,
    /// Verifier key of the log (C2SP signed note).
    pub vkey: String,
}

/// What is known of a signature that did not come.
enum SignFailure {
    NotSigned(String),
    Unknown(String),
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What the log holds only as a salted hash.
fn metadata(caller: &Caller, request: &Request) -> String {
    let (role, uid) = (caller.role(), caller.uid());
    format!("role={role} uid={uid} request={} profile={} device={}", request.id, request.profile, request.identity.canonical())
}

/// One line that fits an event's text.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT / 4).collect()
}
