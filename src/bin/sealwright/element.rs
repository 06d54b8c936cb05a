//! `sealwright element`: look at chips and chip profiles, and turn certificates into what chips store.

use crate::{Failure, Verdict};
use sealwright::device::atecc608::definition::{Definition, Holder, Place};
use sealwright::device::atecc608::{Atecc608, ChipProfile};
use sealwright::device::emulator::Timing;
use sealwright::device::transport;
use sealwright::device::{Configuration, SecureElement};
use sealwright::x509::compressed::{Compressed, Template, Varies};
use sealwright::x509::pem;
use serde_json::{Value, json};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Look at chips and chip profiles, and turn certificates into what chips store.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Identify the chip on a bus and compare it with a profile, changing nothing; exit code 1 when it differs.
    Show {
        /// i2c:/dev/i2c-N[@ADDRESS], serial:/dev/ttyX, tcp:HOST:PORT, simulator:HOST:PORT or emulated:FILE.
        #[arg(long)]
        bus: String,
        /// Chip profile (TOML).
        #[arg(long, value_name = "FILE")]
        chip: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Check a chip profile against the permission model and print its warnings.
    Profile {
        /// Chip profile (TOML).
        file: PathBuf,
        /// Print the configuration zone instead, hexadecimal, zero where the profile decides nothing.
        #[arg(long)]
        image: bool,
    },
    /// Make a template from an issued certificate.
    Template {
        /// Certificate (PEM or DER).
        certificate: PathBuf,
        /// The certificate of one issuer, the same on every chip, instead of a device's.
        #[arg(long)]
        signer: bool,
        /// Template id, 0 to 15.
        #[arg(long, default_value_t = 0)]
        template_id: u8,
        /// Chain id, 0 to 15.
        #[arg(long, default_value_t = 0)]
        chain_id: u8,
    },
    /// Compress certificates of a template and prove that each comes back; one JSON object a line.
    Compress {
        /// Template file.
        #[arg(long, value_name = "FILE")]
        template: PathBuf,
        /// Signer id, four hexadecimal digits.
        #[arg(long, default_value = "0000")]
        signer_id: String,
        /// Certificates (PEM or DER).
        #[arg(required = true)]
        certificates: Vec<PathBuf>,
    },
    /// Rebuild a certificate from what a chip stores; PEM on standard output.
    Rebuild {
        /// Template file.
        #[arg(long, value_name = "FILE")]
        template: PathBuf,
        /// The 72 octets of the certificate slot, hexadecimal.
        #[arg(long, value_name = "HEX")]
        compressed: String,
        /// The octets stored beside it, hexadecimal.
        #[arg(long, value_name = "HEX", default_value = "")]
        stored: String,
        /// Public key x‖y, hexadecimal.
        #[arg(long, value_name = "HEX")]
        public_key: String,
    },
    /// Write the definition from which a firmware with Microchip's cryptoauthlib rebuilds certificates.
    Definition {
        /// Template file.
        #[arg(long, value_name = "FILE")]
        template: PathBuf,
        /// Chip profile (TOML).
        #[arg(long, value_name = "FILE")]
        chip: PathBuf,
        /// Define the issuer's certificate instead of the device's.
        #[arg(long)]
        signer: bool,
        /// First octet of the stored parts in the data slot.
        #[arg(long, default_value_t = 0)]
        offset: usize,
        /// Prefix of the C identifiers.
        #[arg(long, default_value = "device")]
        name: String,
        /// Print one JSON object instead of C.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.task {
        Task::Show { bus, chip, json } => return show(&bus, &chip, json),
        Task::Profile { file, image: true } => println!("{}", hex::encode(chip_profile(&file)?.applied_to(&[0; 128]))),
        Task::Profile { file, image: false } => {
            let profile = chip_profile(&file)?;
            println!("{}: {} ({}), device key in slot {}", profile.name(), profile.model(), profile.description(), profile.key_slot());
            profile.storage().iter().for_each(|(storage, slot)| println!("slot {slot}: {storage}"));
            profile.warnings().iter().for_each(|warning| println!("warning: {warning}"));
        }
        Task::Template { certificate, signer, template_id, chain_id } => {
            let varies = if signer { Varies::Nothing } else { Varies::Identity };
            println!("{}", Template::from_certificate(&read_certificate(&certificate)?, varies, template_id, chain_id)?.to_text());
        }
        Task::Compress { template, signer_id, certificates } => {
            let template = read_template(&template)?;
            let signer_id: [u8; 2] = octets(&signer_id, "signer id")?;
            for path in certificates {
                let der = read_certificate(&path)?;
                let compressed = template.compress(&der, signer_id).map_err(|e| format!("{}: {e}", path.display()))?;
                let line = json!({
                    "file": path, "compressed": hex::encode(compressed.octets), "stored": hex::encode(compressed.stored),
                    "public_key": hex::encode(der.get(template.layout().public_key.clone()).unwrap_or_default()),
                });
                println!("{line}");
            }
        }
        Task::Rebuild { template, compressed, stored, public_key } => {
            let stored = hex::decode(&stored).map_err(|_| "stored: not hexadecimal")?;
            let compressed = Compressed { octets: octets(&compressed, "compressed certificate")?, stored };
            let der = read_template(&template)?.rebuild(&compressed, &octets(&public_key, "public key")?)?;
            print!("{}", pem::encode(pem::CERTIFICATE, &der));
        }
        Task::Definition { template, chip, signer, offset, name, json } => {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("name '{name}' is not a C identifier").into());
            }
            let holder = if signer { Holder::Signer } else { Holder::Device };
            let definition = Definition::new(&read_template(&template)?, &chip_profile(&chip)?, holder, offset)?;
            let text = if json { definition_json(&definition).to_string() } else { definition.to_c(&name) };
            println!("{text}");
        }
    }
    Ok(Verdict::Good)
}

fn show(bus: &str, chip: &Path, as_json: bool) -> Result<Verdict, Failure> {
    let mut element = Atecc608::new(transport::open(bus, Timing::Real)?, chip_profile(chip)?);
    let info = element.identify()?;
    let status = element.status()?;
    let differences = match &status.configuration {
        Configuration::Matches => Vec::new(),
        Configuration::Differs(fields) => fields.clone(),
    };
    let locked: Vec<&str> = status.locked_storage.iter().map(|s| s.as_str()).collect();
    if as_json {
        let report = json!({
            "serial": info.serial.to_string(), "revision": hex::encode(info.revision), "model": info.model,
            "differences": differences, "configuration_locked": status.configuration_locked,
            "data_locked": status.data_locked, "key_locked": status.key_locked, "locked_storage": locked,
            "public_key": status.public_key.map(hex::encode),
        });
        println!("{report}");
    } else {
        let state = |locked: bool| if locked { "locked" } else { "open" };
        println!("{} {} (revision {})", info.model, info.serial, hex::encode(info.revision));
        println!("configuration {}, data zone {}", state(status.configuration_locked), state(status.data_locked));
        println!("device key: {}, slot {}", status.public_key.map_or("none".into(), hex::encode), state(status.key_locked));
        println!("locked storage: {}", if locked.is_empty() { "none".into() } else { locked.join(", ") });
        differences.iter().for_each(|field| println!("differs: {field}"));
    }
    Ok(if differences.is_empty() { Verdict::Good } else { Verdict::Bad })
}

fn definition_json(definition: &Definition) -> Value {
    let part = |range: Option<&Range<usize>>| json!([range.map_or(0, |r| r.start), range.map_or(0, |r| r.len())]);
    let place = |p: &Place| json!({ "slot": p.slot, "offset": p.offset, "count": p.count, "is_genkey": p.of_key });
    let elements: Vec<Value> = definition.elements.iter().map(|(r, p)| json!({ "part": part(Some(r)), "place": place(p) })).collect();
    let standard: Vec<Value> = definition.standard_elements().iter().map(|(_, r)| part(*r)).collect();
    json!({
        "template": hex::encode(&definition.template), "template_id": definition.ids.0, "chain_id": definition.ids.1,
        "private_key_slot": definition.key_slot, "serial_from_key": definition.serial_from_key,
        "serial_place": definition.serial.1.as_ref().map(place), "compressed": place(&definition.compressed),
        "public_key": place(&definition.public_key), "tbs": part(Some(&definition.tbs)), "years": definition.years,
        "date_lengths": [definition.dates.0.len(), definition.dates.1.len()], "standard": standard, "elements": elements,
    })
}

fn chip_profile(path: &Path) -> Result<ChipProfile, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    ChipProfile::parse(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn read_template(path: &Path) -> Result<Template, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Template::parse(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn read_certificate(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let certificates = pem::certificates(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    certificates.into_iter().next().ok_or_else(|| format!("{}: no certificate", path.display()).into())
}

fn octets<const N: usize>(text: &str, what: &str) -> Result<[u8; N], Failure> {
    let bytes = hex::decode(text).ok().and_then(|b| <[u8; N]>::try_from(b).ok());
    bytes.ok_or_else(|| format!("{what}: {} hexadecimal digits expected", 2 * N).into())
}
