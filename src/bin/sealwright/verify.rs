//! `sealwright verify`: the verdict about one certificate chain, offline.

use crate::{Failure, Verdict};
use const_oid::ObjectIdentifier;
use sealwright::types::unix_now;
use sealwright::x509::chain::{
    At, MAX_CRL, OfflineVerifier, OfflineVerifierBuilder, ReadCertificate, Refusal, Role, StatusDemand, VerifiedChain, show_time,
};
use sealwright::x509::{keys, pem};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Largest file of certificates that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Flags of `sealwright verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trust: Trust,
    /// The leaf is an authority (intermediate or root), not a device.
    #[arg(long)]
    authority: bool,
    #[command(flatten)]
    logged: crate::logged::Logged,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// The chain, PEM (leaf first) or one DER certificate; `-` reads standard input.
    chain: PathBuf,
}

/// What a verdict trusts and demands.
#[derive(clap::Args)]
pub struct Trust {
    /// File with the roots to trust, PEM or DER; may be given again.
    #[arg(long, required = true, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// File with further intermediates, PEM or DER; may be given again.
    #[arg(long, value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// CRL, PEM or DER, full or delta; may be given again.
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Whose revocation status must be known: optional, leaf or chain.
    #[arg(long, default_value = "optional", value_name = "WHOSE", value_parser = parse_status)]
    status: StatusDemand,
    /// Time of the verdict: `now`, `unknown`, a date, RFC 3339 in UTC, or Unix seconds.
    #[arg(long, default_value = "now", value_name = "TIME", value_parser = parse_time)]
    pub at: At,
    /// Purpose that the leaf must list: client-auth, server-auth, code-signing or an OID.
    #[arg(long, value_name = "PURPOSE", value_parser = parse_purpose)]
    eku: Option<ObjectIdentifier>,
    /// Intermediates in the path at most.
    #[arg(long, default_value_t = 4, value_name = "N")]
    max_intermediates: usize,
}

impl Trust {
    /// The verifier of these flags, still open to further demands.
    pub fn builder(&self) -> Result<OfflineVerifierBuilder, Failure> {
        let mut builder = OfflineVerifier::builder().max_intermediates(self.max_intermediates);
        for path in &self.anchor {
            for der in certificates(path)? {
                builder = builder.root(der);
            }
        }
        for path in &self.intermediates {
            for der in certificates(path)? {
                builder = builder.intermediate(der);
            }
        }
        for path in &self.crl {
            for der in crls(path)? {
                builder = builder.crl(der);
            }
        }
        let builder = builder.status(self.status);
        Ok(if let Some(usage) = self.eku { builder.extended_key_usage(usage) } else { builder })
    }
}

/// Verifies and prints the verdict.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let builder = args.trust.builder()?;
    let verifier = if args.authority { builder.authority() } else { builder }.build()?;
    let at = args.trust.at;
    let bytes = read_bounded(&args.chain)?;
    let outcome = match pem::certificates(&bytes) {
        Ok(list) => {
            let (leaf, rest) = list.split_first().ok_or("the chain file holds no certificate")?;
            verifier.verify_chain(leaf, rest, at)
        }
        // Not PEM: judged as DER, so that the verdict names the rule.
        Err(_) => verifier.verify_chain(&bytes, &[], at),
    };
    let logged = match &outcome {
        Ok(chain) => args.logged.verify(chain.leaf().der())?,
        Err(_) => None,
    };
    if args.json {
        let mut value = report(&outcome, at);
        if let Some(logged) = &logged {
            value["log"] = crate::logged::report(logged);
        }
        println!("{value}");
    } else {
        match &outcome {
            Ok(chain) => print!("{}{}", picture(chain), logged.as_ref().map_or(String::new(), crate::logged::line)),
            Err(refusal) => print!("{}", explanation(refusal)),
        }
    }
    let good = outcome.is_ok() && !matches!(logged, Some(Err(_)));
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

/// The certificates of a file, PEM or DER.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    pem::certificates(&read_bounded(path)?).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn crls(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read_up_to(path, MAX_CRL as u64 * 2)?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let list = pem::decode_all("X509 CRL", &String::from_utf8(bytes)?).map_err(|e| format!("{}: {e}", path.display()))?;
    if list.is_empty() { Err(format!("{}: neither a DER CRL nor a PEM block 'BEGIN X509 CRL'", path.display()).into()) } else { Ok(list) }
}

fn parse_status(text: &str) -> Result<StatusDemand, String> {
    match text {
        "optional" => Ok(StatusDemand::Optional),
        "leaf" => Ok(StatusDemand::Leaf),
        "chain" => Ok(StatusDemand::Chain),
        _ => Err("use optional, leaf or chain".into()),
    }
}

/// Reads a file, or standard input for `-`, up to [`MAX_FILE`].
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    read_up_to(path, MAX_FILE)
}

fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{} is larger than {limit} bytes; give certificates or CRLs alone", path.display()).into());
    }
    Ok(bytes)
}

/// Reads the time of a verdict.
pub fn parse_time(text: &str) -> Result<At, String> {
    match text {
        "now" => return Ok(At::Time(unix_now())),
        "unknown" => return Ok(At::Unknown),
        _ => {}
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(At::Time(seconds));
    }
    let full = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let date =
        der::DateTime::from_str(&full).map_err(|_| "use now, unknown, 2026-01-31, 2026-01-31T12:00:00Z or Unix seconds".to_owned())?;
    Ok(At::Time(i64::try_from(date.unix_duration().as_secs()).unwrap_or(i64::MAX)))
}

/// Reads a purpose by name or OID.
pub fn parse_purpose(text: &str) -> Result<ObjectIdentifier, String> {
    use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_CODE_SIGNING, ID_KP_SERVER_AUTH};
    match text {
        "client-auth" => Ok(ID_KP_CLIENT_AUTH),
        "server-auth" => Ok(ID_KP_SERVER_AUTH),
        "code-signing" => Ok(ID_KP_CODE_SIGNING),
        other => ObjectIdentifier::new(other).map_err(|_| "use client-auth, server-auth, code-signing or a dotted OID".to_owned()),
    }
}

/// The verdict's time for people and scripts.
pub fn time_text(at: At) -> String {
    match at {
        At::Time(unix) => show_time(unix),
        At::Unknown => "unknown".into(),
    }
}

/// Root on top, one line for each certificate, leaf at the bottom.
pub fn picture(chain: &VerifiedChain) -> String {
    let mut text = match chain.at() {
        At::Time(unix) => format!("good: the chain verifies at {}\n", show_time(unix)),
        At::Unknown => "good, without a clock: the chain verifies within the window below\n".to_owned(),
    };
    for (depth, (role, certificate)) in roles(chain).into_iter().rev().enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        let algorithm = keys::classify(certificate.spki_der()).map_or_else(|_| "?".into(), |a| a.to_string());
        let validity = certificate.validity();
        text += &format!(
            "{branch}{role} {}  {algorithm}  serial {}  {} to {}\n",
            certificate.label(),
            hex::encode(certificate.serial()),
            show_time(validity.not_before()),
            show_time(validity.not_after())
        );
    }
    let window = chain.window();
    text + &format!("window: {} to {}\n", show_time(window.not_before()), show_time(window.not_after()))
}

/// The refusal in lines that can be read aloud.
pub fn explanation(refusal: &Refusal) -> String {
    format!(
        "bad: {} {}\n  because: {}\n  rule:    {} ({})\n  remedy:  {}\n",
        refusal.role(),
        refusal.subject(),
        refusal.reason(),
        refusal.rule(),
        refusal.clause(),
        refusal.rule().remedy()
    )
}

fn roles(chain: &VerifiedChain) -> Vec<(Role, &ReadCertificate)> {
    let last = chain.issuers().len().saturating_sub(1);
    let issuers = chain.issuers().iter().enumerate().map(|(i, c)| (if i == last { Role::Root } else { Role::Intermediate }, c));
    std::iter::once((Role::Leaf, chain.leaf())).chain(issuers).collect()
}

/// The verdict as JSON, format version 1.
pub fn report(outcome: &Result<VerifiedChain, Refusal>, at: At) -> Value {
    match outcome {
        Ok(chain) => json!({
            "version": 1,
            "verdict": "good",
            "at": time_text(at),
            "window": { "not_before": show_time(chain.window().not_before()), "not_after": show_time(chain.window().not_after()) },
            "chain": chain_json(chain),
        }),
        Err(refusal) => json!({
            "version": 1,
            "verdict": "bad",
            "at": time_text(at),
            "refusal": {
                "role": refusal.role().to_string(),
                "subject": refusal.subject(),
                "rule": refusal.rule().name(),
                "clause": refusal.clause(),
                "reason": refusal.reason(),
                "remedy": refusal.rule().remedy(),
            },
        }),
    }
}

/// The certificates of a chain as JSON, leaf first.
pub fn chain_json(chain: &VerifiedChain) -> Value {
    let one = |(role, c): (Role, &ReadCertificate)| {
        json!({
            "role": role.to_string(),
            "subject": c.subject().to_string(),
            "issuer": c.issuer().to_string(),
            "serial": hex::encode(c.serial()),
            "sha256": hex::encode(Sha256::digest(c.der())),
            "key": keys::classify(c.spki_der()).map_or_else(|_| "?".into(), |a| a.to_string()),
            "not_before": show_time(c.validity().not_before()),
            "not_after": show_time(c.validity().not_after()),
        })
    };
    roles(chain).into_iter().map(one).collect()
}
