//! `sealwright artifact`: sign files with a device key, and verify them offline.

use super::pin::PinArgs;
use super::verify::{Trust, certificates, chain_json, explanation, parse_time, picture, read_bounded, time_text};
use crate::{Failure, Verdict};
use const_oid::db::rfc5280::ID_KP_TIME_STAMPING;
use indicatif::{ProgressBar, ProgressStyle};
use sealwright::artifact::cms::timestamp;
use sealwright::artifact::{
    ArtifactError, ArtifactSigner, ContentDigest, Envelope, Format, Judge, Signed, SignerChain, SignerRules, digest_for, sign, wasm,
};
use sealwright::ca::artifact::{ElementSigner, TokenSigner};
use sealwright::device::SecureElement;
use sealwright::device::atecc608::{Atecc608, ChipProfile};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::EmulatedTransport;
use sealwright::token::{Module, Token, TokenUri};
use sealwright::types::Fingerprint;
use sealwright::x509::chain::{At, OfflineVerifier, ReadCertificate, show_time};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Sign and verify artifacts: firmware, WASM modules, any file.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Sign a file with a device key.
    Sign(SignArgs),
    /// Verify a signed file offline.
    Verify(VerifyArgs),
    /// Make a timestamp request (RFC 3161) for a CMS signature, to send to an authority.
    TimestampRequest {
        /// The signature, DER.
        signature: PathBuf,
        /// File to create.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Put an authority's response into a CMS signature.
    TimestampAttach {
        /// The signature, DER.
        signature: PathBuf,
        /// The authority's response (RFC 3161).
        #[arg(long, value_name = "FILE")]
        response: PathBuf,
        /// File to create.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Cut the signatures off a WASM module; gives the original bytes.
    Strip {
        /// The signed module.
        input: PathBuf,
        /// File to create.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct SignArgs {
    /// The signer's chain, PEM, leaf first; a root in it is left out.
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// State file of an emulated element that holds the device key.
    #[arg(long, value_name = "FILE", requires = "chip", conflicts_with_all = ["module", "token"])]
    emulated: Option<PathBuf>,
    /// Chip profile (TOML) of the element.
    #[arg(long, value_name = "FILE")]
    chip: Option<PathBuf>,
    /// The vendor's PKCS#11 library, for a key in a token.
    #[arg(long, value_name = "FILE", requires = "token")]
    module: Option<PathBuf>,
    /// RFC 7512 URI of the token.
    #[arg(long, value_name = "URI", requires = "module")]
    token: Option<String>,
    #[command(flatten)]
    pin: PinArgs,
    /// SHA-256 fingerprint of the token's key; by default the one in the certificate.
    #[arg(long, value_name = "SHA256", requires = "token")]
    key: Option<String>,
    /// cms or cose.
    #[arg(long, default_value = "cms", value_parser = parse_format)]
    format: Format,
    /// Write a WASM module that carries the signature (and those it had) instead of a detached file.
    #[arg(long)]
    embed: bool,
    /// The signer's claim of time: now, none, or a time.
    #[arg(long, default_value = "now", value_name = "TIME")]
    time: String,
    /// File to create: the signature, or the module with --embed.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The file to sign.
    input: PathBuf,
}

#[derive(clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    trust: Trust,
    /// Detached signature; may be given again. Without one, the file is a WASM module that carries its own.
    #[arg(long, value_name = "FILE")]
    signature: Vec<PathBuf>,
    /// Roots of timestamping authorities, PEM or DER; a timestamped signature is judged for its attested time.
    #[arg(long, value_name = "FILE")]
    timestamp_anchor: Vec<PathBuf>,
    /// Who must have signed, TOML; by default one good signature is enough.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// The signed file.
    input: PathBuf,
}

fn parse_format(text: &str) -> Result<Format, String> {
    match text {
        "cms" => Ok(Format::Cms),
        "cose" => Ok(Format::Cose),
        _ => Err("use cms or cose".into()),
    }
}

/// Runs `sealwright artifact …`.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.action {
        Action::Sign(args) => sign_file(args),
        Action::Verify(args) => verify_file(&args),
        Action::TimestampRequest { signature, out } => write(&out, &timestamp::request(&read_bounded(&signature)?)?),
        Action::TimestampAttach { signature, response, out } => {
            write(&out, &timestamp::attach(&read_bounded(&signature)?, &read_bounded(&response)?)?)
        }
        Action::Strip { input, out } => strip(&input, &out),
    }
}

fn sign_file(args: SignArgs) -> Result<Verdict, Failure> {
    let mut ders = certificates(&args.chain)?;
    // The verifier brings its own root; one inside would only be dead weight.
    let self_issued = |der: &Vec<u8>| ReadCertificate::from_der(der).is_ok_and(|c| c.subject() == c.issuer());
    if ders.len() > 1 {
        ders.retain(|der| !self_issued(der));
    }
    let chain = SignerChain::new(&ders)?;
    let time = match args.time.as_str() {
        "none" => None,
        text => match parse_time(text)? {
            At::Time(unix) => Some(unix),
            At::Unknown => None,
        },
    };
    let mut input = open(&args.input)?;
    let old = if args.embed {
        wasm::layout(&mut input)?
    } else {
        wasm::Layout { content_length: input.metadata()?.len(), envelopes: Vec::new() }
    };
    let mut make = |signer: &mut dyn ArtifactSigner| -> Result<Vec<u8>, Failure> {
        input.rewind()?;
        let bar = progress(old.content_length);
        let digest = ContentDigest::read(digest_for(signer.algorithm()), (&mut input).take(old.content_length), |n| bar.inc(n))?;
        bar.finish_and_clear();
        Ok(sign(args.format, signer, &chain, &digest, time)?)
    };
    let envelope = match (&args.emulated, &args.chip, &args.module, &args.token) {
        (Some(state), Some(chip), ..) => make(&mut ElementSigner(&mut element(state, chip)?))?,
        (None, _, Some(module), Some(uri)) => {
            let uri = TokenUri::parse(uri)?;
            let module = Module::load(module)?;
            let token = Token::open(&module, &uri, &args.pin.read(&uri.to_string())?)?;
            let fingerprint = args.key.as_deref().map_or_else(|| Ok(Fingerprint::of_spki(chain.leaf_spki_der())), Fingerprint::parse)?;
            let key = token.find_key(&fingerprint)?;
            make(&mut TokenSigner { token: &token, key: &key })?
        }
        _ => return Err("name the device key: --emulated FILE --chip FILE, or --module FILE --token URI".into()),
    };
    let mut out = create(&args.out)?;
    if args.embed {
        let envelopes: Vec<Vec<u8>> = old.envelopes.into_iter().chain([envelope]).collect();
        let section = wasm::section(&envelopes)?;
        input.rewind()?;
        std::io::copy(&mut (&mut input).take(old.content_length), &mut out)?;
        out.write_all(&section)?;
    } else {
        out.write_all(&envelope)?;
    }
    out.flush()?;
    println!("signed {} as {} ({})", args.input.display(), args.out.display(), args.format);
    Ok(Verdict::Good)
}

fn element(state: &Path, chip: &Path) -> Result<Atecc608, Failure> {
    let text = String::from_utf8(read_bounded(chip)?)?;
    let profile = ChipProfile::parse(&text).map_err(|e| format!("{}: {e}", chip.display()))?;
    if !state.exists() {
        return Err(format!("{}: no such element; provision one first", state.display()).into());
    }
    let transport = EmulatedTransport::new(Emulator::open(state, Timing::parse("instant")?)?);
    let mut element = Atecc608::new(Box::new(transport), profile);
    element.identify()?;
    Ok(element)
}

fn write(path: &Path, bytes: &[u8]) -> Result<Verdict, Failure> {
    create(path)?.write_all(bytes)?;
    Ok(Verdict::Good)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
}

fn create(path: &Path) -> Result<File, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.map_err(|e| format!("cannot create {}: {e}; nothing is overwritten", path.display()).into())
}

/// A bar for files that take a while, on terminals only.
fn progress(length: u64) -> ProgressBar {
    if length < 64 * 1024 * 1024 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}") {
        bar.set_style(style);
    }
    bar
}

fn verify_file(args: &VerifyArgs) -> Result<Verdict, Failure> {
    let verifier = args.trust.builder()?.build()?;
    let at = args.trust.at;
    let authority = timestamping(args)?;
    let judge = Judge { verifier: &verifier, at, authority: authority.as_ref() };
    let rules = match &args.rules {
        Some(path) => Some(SignerRules::parse(&String::from_utf8(read_bounded(path)?)?).map_err(|e| format!("{}: {e}", path.display()))?),
        None => None,
    };
    let mut input = open(&args.input)?;
    let bar = progress(input.metadata()?.len());
    let outcome = if args.signature.is_empty() {
        wasm::verify(&mut input, &judge, |n| bar.inc(n))
    } else {
        let envelopes = args.signature.iter().map(|p| read_bounded(p)).collect::<Result<Vec<_>, _>>()?;
        detached(&mut input, &envelopes, &judge, &bar)
    };
    bar.finish_and_clear();
    let signed = match outcome {
        Ok(signed) => signed,
        Err(ArtifactError::Io(error)) => return Err(format!("cannot read {}: {error}", args.input.display()).into()),
        Err(error) => return Ok(say_bad(args, &error)),
    };
    let names = match rules.as_ref().map(|rules| rules.check(&signed)) {
        Some(Err(few)) => return Ok(say_bad(args, &few)),
        Some(Ok(names)) => names,
        None => Vec::new(),
    };
    if args.json {
        let signers: Vec<Value> = signed.iter().map(signer_json).collect();
        println!("{}", json!({ "version": 1, "verdict": "good", "at": time_text(at), "names": names, "signers": signers }));
    } else {
        signed.iter().for_each(|s| print!("{}", describe(s)));
        if !names.is_empty() {
            println!("signed as: {}", names.join(", "));
        }
    }
    Ok(Verdict::Good)
}

/// The verifier of timestamping authorities, when roots for it were given.
fn timestamping(args: &VerifyArgs) -> Result<Option<OfflineVerifier>, Failure> {
    let mut builder = OfflineVerifier::builder().extended_key_usage(ID_KP_TIME_STAMPING);
    for path in &args.timestamp_anchor {
        for der in certificates(path)? {
            builder = builder.root(der);
        }
    }
    Ok(if args.timestamp_anchor.is_empty() { None } else { Some(builder.build()?) })
}

fn detached(input: &mut File, envelopes: &[Vec<u8>], judge: &Judge<'_>, bar: &ProgressBar) -> Result<Vec<Signed>, ArtifactError> {
    let mut digests: Vec<ContentDigest> = Vec::new();
    let mut out = Vec::new();
    for bytes in envelopes {
        let envelope = Envelope::parse(bytes)?;
        let known = digests.iter().find(|d| d.algorithm() == envelope.digest_algorithm()).cloned();
        let digest = match known {
            Some(digest) => digest,
            None => {
                input.rewind()?;
                ContentDigest::read(envelope.digest_algorithm(), &mut *input, |n| bar.inc(n))?
            }
        };
        out.push(envelope.verify(&digest, judge)?);
        digests.push(digest);
    }
    Ok(out)
}

fn say_bad(args: &VerifyArgs, error: &(dyn std::error::Error + 'static)) -> Verdict {
    if args.json {
        println!("{}", json!({ "version": 1, "verdict": "bad", "at": time_text(args.trust.at), "reason": error.to_string() }));
    } else {
        match error.downcast_ref::<ArtifactError>() {
            Some(ArtifactError::Chain(refusal)) => print!("bad: the signer's chain is refused\n{}", explanation(refusal)),
            _ => println!("bad: {error}"),
        }
    }
    Verdict::Bad
}

fn signer_json(signed: &Signed) -> Value {
    json!({
        "format": signed.format().to_string(),
        "claimed_time": signed.claimed_time().map(show_time),
        "attested_time": signed.attested_time().map(show_time),
        "chain": chain_json(signed.chain()),
    })
}

fn describe(signed: &Signed) -> String {
    let time = match (signed.attested_time(), signed.claimed_time()) {
        (Some(unix), _) => format!("a timestamping authority saw the signature at {}", show_time(unix)),
        (None, Some(unix)) => format!("the signer says it signed at {}; nobody attests that", show_time(unix)),
        (None, None) => "when it was signed cannot be known".to_owned(),
    };
    format!("good: signed ({}) by {}\n{time}\n{}", signed.format(), signed.chain().leaf().label(), picture(signed.chain()))
}

fn strip(input: &Path, out: &Path) -> Result<Verdict, Failure> {
    let mut module = open(input)?;
    let layout = wasm::layout(&mut module)?;
    if layout.envelopes.is_empty() {
        return Err(format!("{}: it carries no signature", input.display()).into());
    }
    module.rewind()?;
    std::io::copy(&mut module.take(layout.content_length), &mut create(out)?)?;
    println!("cut {} signature(s) off", layout.envelopes.len());
    Ok(Verdict::Good)
}
