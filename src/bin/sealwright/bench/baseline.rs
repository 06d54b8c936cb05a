//! What token, processor and disk do at best, without the daemon.

use super::plant::Plant;
use super::{Args, report::Times};
use crate::Failure;
use sealwright::api::wire;
use sealwright::durable;
use sealwright::token::{Key, Module, Pin, Token, TokenUri};
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::csr::VerifiedCsr;
use sealwright::x509::sign::ToSign;
use sealwright::x509::{keys, pem};
use std::time::{Duration, Instant};

/// Signatures of each thread.
const SIGNATURES: usize = 5000;
/// Repetitions of the others.
const REPEAT: usize = 1000;
/// Bytes of a durable append: about one record.
const RECORD: usize = 700;

/// The limits of this machine.
pub struct Baseline {
    /// Cores.
    pub cores: usize,
    /// One raw signature, one thread.
    pub sign: Times,
    /// Raw signatures a second with as many threads as the daemon has sessions.
    pub sign_rate: f64,
    /// Parsing a request and checking its proof of possession.
    pub possession: Times,
    /// Verifying one signature of the issuer.
    pub self_verification: Times,
    /// One durable append of 700 bytes.
    pub sync: Times,
}

/// Measures; nothing else of ours runs meanwhile.
pub fn measure(args: &Args, plant: &Plant, serial: &str, csr: &[u8]) -> Result<Baseline, Failure> {
    let module = Module::load(&args.softhsm)?;
    let pin = Pin::from_file(&plant.path("pin"))?;
    let open = || -> Result<(Token, Key), Failure> {
        let token = Token::open(&module, &TokenUri::parse(&format!("pkcs11:serial={serial}"))?, &pin)?;
        let key = token.find_key_by_label("intermediate")?;
        Ok((token, key))
    };
    let (token, key) = open()?;
    let text = "x".repeat(RECORD);
    let signature = token.sign(&key, ToSign::Checkpoint(&text))?;
    let sign = times(SIGNATURES, || Ok(token.sign(&key, ToSign::Checkpoint(&text)).map(drop)?))?;
    let others = (0..args.sessions).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let one = |(token, key): (Token, Key), text: &str| -> Result<(), String> {
            (0..SIGNATURES).try_for_each(|_| token.sign(&key, ToSign::Checkpoint(text)).map(drop)).map_err(|e| e.to_string())
        };
        let text = text.as_str();
        let running: Vec<_> = others.into_iter().map(|pair| scope.spawn(move || one(pair, text))).collect();
        running.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| Err("a signer panicked".into())))
    })?;
    let sign_rate = f64::from(args.sessions) * SIGNATURES as f64 / started.elapsed().as_secs_f64();
    let (spki, algorithm) = (key.spki_der(), key.algorithm().signature_algorithm());
    let file = plant.path("sync-test");
    Ok(Baseline {
        cores: std::thread::available_parallelism()?.get(),
        sign,
        sign_rate,
        possession: times(REPEAT, || Ok(VerifiedCsr::from_bytes(csr).map(drop)?))?,
        self_verification: times(REPEAT, || Ok(keys::verify(spki, algorithm, text.as_bytes(), &signature)?))?,
        sync: times(REPEAT, || Ok(durable::append(&file, text.as_bytes())?))?,
    })
}

/// Verifies the chains of answers offline and that each holds the key that asked; the time of each.
pub fn verify_chains<'a>(plant: &Plant, answers: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Result<Times, Failure> {
    let one = |path: &str| -> Result<Vec<Vec<u8>>, Failure> { Ok(pem::certificates(&std::fs::read(plant.path(path))?)?) };
    let mut builder = OfflineVerifier::builder();
    for root in one("root.pem")? {
        builder = builder.root(root);
    }
    for intermediate in one("chain.pem")? {
        builder = builder.intermediate(intermediate);
    }
    let verifier = builder.build().map_err(|r| r.to_string())?;
    let mut taken = Vec::new();
    for (body, spki) in answers {
        let answer: wire::Certificate = serde_json::from_slice(body)?;
        let leaf = pem::certificates(answer.certificate.as_bytes())?.pop().ok_or("an answer without certificate")?;
        let started = Instant::now();
        verifier.verify_device_certificate(&leaf, At::Time(sealwright::types::unix_now())).map_err(|r| r.to_string())?;
        taken.push(started.elapsed());
        if keys::of_certificate(&leaf)? != *spki {
            return Err(format!("certificate {} holds another key than its request", answer.serial).into());
        }
    }
    Ok(Times::new(taken))
}

fn times(count: usize, mut work: impl FnMut() -> Result<(), Failure>) -> Result<Times, Failure> {
    let mut taken: Vec<Duration> = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        work()?;
        taken.push(started.elapsed());
    }
    Ok(Times::new(taken))
}
