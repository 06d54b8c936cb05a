//! `sealwright keys`: what a token holds, and whether its keys are what they must be.

use super::pin::PinArgs;
use super::{Failure, Verdict};
use sealwright::token::{FoundKey, Module, Token, TokenUri};
use sealwright::types::{Fingerprint, KeyAlgorithm};
use serde_json::json;
use std::path::PathBuf;

/// Look at the keys of a token.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the tokens of a module (no PIN needed).
    Tokens(ModuleArgs),
    /// List every private key with its fingerprint, algorithm and PKCS#11 URI.
    List(TokenArgs),
    /// Make a key in the token, with every attribute set and read back; refuses a label in use.
    Generate {
        #[command(flatten)]
        token: TokenArgs,
        /// Label of the new key.
        #[arg(long)]
        label: String,
        /// p256, p384, rsa2048, rsa3072, rsa4096 or ed25519.
        #[arg(long, default_value = "p256")]
        algorithm: String,
    },
    /// Check the attributes of every private key, or of one; exit 1 when one is refused.
    Check {
        #[command(flatten)]
        token: TokenArgs,
        /// Check only the key with this fingerprint.
        #[arg(long, value_name = "SHA256")]
        key: Option<String>,
    },
}

#[derive(clap::Args)]
struct ModuleArgs {
    /// The vendor's PKCS#11 library.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct TokenArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// RFC 7512 URI of the token, e.g. `pkcs11:serial=0123456789abcdef`.
    #[arg(long, value_name = "URI")]
    token: String,
    #[command(flatten)]
    pin: PinArgs,
}

impl TokenArgs {
    fn open(&self) -> Result<Token, Failure> {
        let uri = TokenUri::parse(&self.token)?;
        let module = Module::load(&self.module.module)?;
        let pin = self.pin.read(&uri.to_string())?;
        Ok(Token::open(&module, &uri, &pin)?)
    }
}

/// Runs `sealwright keys …`.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.action {
        Action::Tokens(args) => tokens(&args),
        Action::List(args) => list(&args),
        Action::Generate { token, label, algorithm } => generate(&token, &label, &algorithm),
        Action::Check { token, key } => check(&token, key.as_deref()),
    }
}

fn tokens(args: &ModuleArgs) -> Result<Verdict, Failure> {
    let all = Module::load(&args.module)?.tokens()?;
    if args.json {
        let all: Vec<_> = all
            .iter()
            .map(|t| json!({"serial": t.serial, "label": t.label, "manufacturer": t.manufacturer, "model": t.model, "firmware": t.firmware, "soft": t.soft}))
            .collect();
        println!("{}", json!({ "tokens": all }));
        return Ok(Verdict::Good);
    }
    for t in all {
        let soft = if t.soft { "  software token, TEST only" } else { "" };
        println!("{}  {} {} firmware {}{soft}", t.uri()?, t.manufacturer, t.model, t.firmware);
    }
    Ok(Verdict::Good)
}

fn describe(token: &Token, key: &FoundKey) -> Result<serde_json::Value, Failure> {
    let attributes: serde_json::Map<_, _> = key.attributes.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    Ok(json!({
        "label": key.label,
        "id": hex::encode(&key.id),
        "algorithm": key.algorithm().map(|a| a.to_string()),
        "fingerprint": key.fingerprint().map(|f| f.to_string()),
        "uri": token.info().uri()?.with_key(&key.label, &key.id).to_string(),
        "attributes": attributes,
        "offences": key.offences().iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))
}

fn list(args: &TokenArgs) -> Result<Verdict, Failure> {
    let token = args.open()?;
    let found = token.keys()?;
    if args.module.json {
        let keys = found.iter().map(|k| describe(&token, k)).collect::<Result<Vec<_>, _>>()?;
        println!("{}", json!({ "keys": keys }));
        return Ok(Verdict::Good);
    }
    for key in &found {
        let algorithm = key.algorithm().map_or("unsupported".to_owned(), |a| a.to_string());
        let fingerprint = key.fingerprint().map_or("unknown".to_owned(), |f| f.to_string());
        let verdict = if key.offences().is_empty() { "good" } else { "refused, see 'sealwright keys check'" };
        println!("{}\n    {algorithm}  sha256 {fingerprint}  {verdict}", token.info().uri()?.with_key(&key.label, &key.id));
    }
    if found.is_empty() {
        println!("no private keys in token {}", token.info().serial);
    }
    Ok(Verdict::Good)
}

fn generate(args: &TokenArgs, label: &str, algorithm: &str) -> Result<Verdict, Failure> {
    let algorithm = KeyAlgorithm::parse(algorithm)?;
    let token = args.open()?;
    token.can_generate(algorithm, label)?;
    let key = token.generate_key(algorithm, label)?;
    let uri = token.key_uri(&key)?;
    if args.module.json {
        println!("{}", json!({ "uri": uri.to_string(), "algorithm": algorithm.to_string(), "fingerprint": key.fingerprint().to_string() }));
    } else {
        println!("{uri}\n    {algorithm}  sha256 {}", key.fingerprint());
    }
    Ok(Verdict::Good)
}

fn check(args: &TokenArgs, only: Option<&str>) -> Result<Verdict, Failure> {
    let only = only.map(Fingerprint::parse).transpose()?;
    let token = args.open()?;
    let mut found = token.keys()?;
    found.retain(|k| only.is_none() || k.fingerprint() == only);
    if found.is_empty() {
        let what = only.map_or("no private keys".to_owned(), |f| format!("no private key with fingerprint {f}"));
        return Err(format!("{what} in token {}; see 'sealwright keys list'", token.info().serial).into());
    }
    let bad = found.iter().any(|k| !k.offences().is_empty() || k.algorithm().is_none());
    if args.module.json {
        let keys = found.iter().map(|k| describe(&token, k)).collect::<Result<Vec<_>, _>>()?;
        println!("{}", json!({ "good": !bad, "keys": keys }));
    } else {
        for key in found {
            print_check(&key);
        }
    }
    Ok(if bad { Verdict::Bad } else { Verdict::Good })
}

fn print_check(key: &FoundKey) {
    let name = key.fingerprint().map_or_else(|| "no public key of a supported kind".to_owned(), |f| f.to_string());
    let offences = key.offences();
    if offences.is_empty() && key.algorithm().is_some() {
        println!("good     {}  {name}", key.label);
        return;
    }
    println!("refused  {}  {name}", key.label);
    for offence in &offences {
        println!("         {offence}");
    }
    println!("         remedy: generate a new key with 'sealwright ceremony' and retire this one");
}
