//! Flags that ask for proof of logging beside the chain, and the verdict about it.

use crate::Failure;
use crate::log::verifier_key;
use sealwright::log::LogError;
use sealwright::log::proof::{Proof, Proved, verify_certificate};
use sealwright::log::trust::TrustPolicy;
use sealwright::x509::chain::show_time;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What the certificate's entry in the transparency log is held against.
#[derive(clap::Args)]
pub struct Logged {
    /// Proof that the certificate was logged (.tlog-proof); needs --log-key or --log-policy.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The log's verifier key (name+id+base64), or a file that holds it.
    #[arg(long, value_name = "VKEY", requires = "proof")]
    log_key: Option<String>,
    /// Trust policy with logs, witnesses and quorum (C2SP tlog-policy).
    #[arg(long, value_name = "FILE", requires = "proof", conflicts_with = "log_key")]
    log_policy: Option<PathBuf>,
    /// SHA-256 of the issuance policy that the certificate must have been issued under.
    #[arg(long, value_name = "HEX", requires = "proof")]
    policy_hash: Option<String>,
}

impl Logged {
    /// Verifies the proof for a DER certificate; `None` when none is asked for.
    pub fn verify(&self, certificate: &[u8]) -> Result<Option<Result<Proved, LogError>>, Failure> {
        let Some(path) = &self.proof else { return Ok(None) };
        let trust = match (&self.log_key, &self.log_policy) {
            (Some(key), _) => TrustPolicy::of_log(verifier_key(key)?),
            (None, Some(file)) => TrustPolicy::parse(&std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?)?,
            (None, None) => {
                return Err("--proof needs --log-key or --log-policy: a proof is worth as much as the key that it is held against".into());
            }
        };
        let want = self.policy_hash.as_deref().map(policy_hash).transpose()?;
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let proved = Proof::parse(&bytes).and_then(|proof| verify_certificate(certificate, &proof, &trust));
        Ok(Some(proved.and_then(|proved| match want {
            Some(want) if proved.entry.policy() != Some(&want) => Err(LogError::WrongCertificate(format!(
                "it was issued under policy {}",
                proved.entry.policy().map_or("none".into(), hex::encode)
            ))),
            _ => Ok(proved),
        })))
    }
}

fn policy_hash(text: &str) -> Result<[u8; 32], Failure> {
    let bytes = hex::decode(text).ok().and_then(|b| b.try_into().ok());
    bytes.ok_or_else(|| "--policy-hash must be 64 hexadecimal digits".into())
}

/// The verdict in one line.
pub fn line(outcome: &Result<Proved, LogError>) -> String {
    match outcome {
        Ok(proved) => format!(
            "logged: entry {} of {} in {}, at {}, policy {}, {} witnesses\n",
            proved.index,
            proved.checkpoint.checkpoint().size(),
            proved.checkpoint.checkpoint().origin(),
            show_time(i64::try_from(proved.entry.time_ms() / 1000).unwrap_or(i64::MAX)),
            proved.entry.policy().map_or("none".into(), hex::encode),
            proved.witnesses.len(),
        ),
        Err(e) => format!("bad: not shown to be logged\n  because: {e}\n"),
    }
}

/// The verdict as JSON.
pub fn report(outcome: &Result<Proved, LogError>) -> Value {
    match outcome {
        Ok(proved) => json!({
            "verdict": "good",
            "origin": proved.checkpoint.checkpoint().origin(),
            "index": proved.index,
            "size": proved.checkpoint.checkpoint().size(),
            "time_ms": proved.entry.time_ms(),
            "policy": proved.entry.policy().map(hex::encode),
            "witnesses": proved.witnesses.iter().map(|(name, time)| json!({"name": name, "time": time})).collect::<Vec<_>>(),
        }),
        Err(e) => json!({"verdict": "bad", "reason": e.to_string()}),
    }
}
