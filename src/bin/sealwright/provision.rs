//! `sealwright provision`: elements in, devices out.

use crate::verify::certificates;
use crate::{Failure, Verdict};
use indicatif::{ProgressBar, ProgressStyle};
use sealwright::api::authority::DaemonAuthority;
use sealwright::ca::provision::{Left, Line, ProvisionError, Shipped, Socket, Statistics, Step};
use sealwright::device::atecc608::{Atecc608, ChipProfile};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::EmulatedTransport;
use sealwright::device::{ElementInfo, SecureElement};
use sealwright::types::{DeviceId, DeviceIdentity};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Provision secure elements: key in the chip, certificate from the daemon, locks, test, check.
#[derive(clap::Args)]
pub struct Args {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Issuance profile.
    #[arg(long)]
    profile: String,
    /// Chip profile (TOML).
    #[arg(long, value_name = "FILE")]
    chip: PathBuf,
    /// Root certificate that the quality check trusts (PEM or DER).
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Working directory: `journals/` and `devices/` are kept there.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Directory of emulated chips, one state file each; missing ones are made.
    #[arg(long, value_name = "DIR")]
    emulated: PathBuf,
    /// Number of emulated chips.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Stations working at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    stations: u16,
    /// Pace of emulated chips: real, instant, or a speed-up factor.
    #[arg(long, default_value = "real")]
    timing: String,
    /// Device type for every device.
    #[arg(long)]
    device_type: Option<String>,
    /// Hardware revision for every device.
    #[arg(long)]
    hardware_revision: Option<String>,
    /// Print one JSON object a device, and one with the statistics.
    #[arg(long)]
    json: bool,
}

/// Runs the command; a device that is not shipped makes a bad verdict.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let text = std::fs::read_to_string(&args.chip).map_err(|e| format!("{}: {e}", args.chip.display()))?;
    let chip = ChipProfile::parse(&text).map_err(|e| format!("{}: {e}", args.chip.display()))?;
    let root = certificates(&args.root)?;
    let [root] = root.as_slice() else { return Err(format!("{}: give exactly one root", args.root.display()).into()) };
    if !args.json {
        chip.warnings().iter().for_each(|w| eprintln!("chip profile: warning: {w}"));
    }
    let sockets = emulated(&args, &chip)?;
    let stations = usize::from(args.stations).min(sockets.len());
    let authorities: Vec<DaemonAuthority> =
        (0..stations).map(|_| DaemonAuthority::new(&args.socket, &args.profile)).collect::<Result<_, _>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(Arc::clone(&stop))?;

    let bar = ProgressBar::new(sockets.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} devices  {per_sec}  eta {eta}  {msg}")?);
    let (journals, devices) = (args.work.join("journals"), args.work.join("devices"));
    let naming = |info: &ElementInfo| identity(&args, info);
    let line = Line { journals: &journals, devices: &devices, root, naming: &naming, stop: &stop };
    let started = Instant::now();
    let statistics = line.run(sockets, &authorities, &|left| report(&args, &bar, &left));
    bar.finish_and_clear();
    summarise(&args, &statistics, started.elapsed(), stations);
    Ok(if statistics.failed() == 0 && !stop.load(Ordering::Relaxed) { Verdict::Good } else { Verdict::Bad })
}

/// The element's own serial number names the device.
fn identity(args: &Args, info: &ElementInfo) -> Result<DeviceIdentity, String> {
    let id = DeviceId::parse("free", &info.serial.to_string()).map_err(|e| e.to_string())?;
    let mut identity = DeviceIdentity::new(id);
    if let Some(value) = &args.device_type {
        identity = identity.with_device_type(value).map_err(|e| e.to_string())?;
    }
    if let Some(value) = &args.hardware_revision {
        identity = identity.with_hardware_revision(value).map_err(|e| e.to_string())?;
    }
    Ok(identity)
}

fn emulated(args: &Args, chip: &ChipProfile) -> Result<Vec<Socket>, Failure> {
    let timing = Timing::parse(&args.timing)?;
    std::fs::create_dir_all(&args.emulated).map_err(|e| format!("{}: {e}", args.emulated.display()))?;
    Ok((0..args.count)
        .map(|number| {
            let (path, chip) = (args.emulated.join(format!("chip-{number:05}.json")), chip.clone());
            let open = move || {
                let transport = EmulatedTransport::new(Emulator::open(&path, timing)?);
                Ok(Box::new(Atecc608::new(Box::new(transport), chip)) as Box<dyn SecureElement>)
            };
            Box::new(open) as Socket
        })
        .collect())
}

/// The first interrupt lets the chips in hand finish.
fn stop_on_interrupt(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.store(true, Ordering::Relaxed);
                eprintln!("finishing the chips in hand; nothing is lost");
            }
        });
    });
    Ok(())
}

fn report(args: &Args, bar: &ProgressBar, left: &Left<'_>) {
    bar.inc(1);
    match (left.result, args.json) {
        (Ok(device), true) => bar.suspend(|| println!("{}", shipped(device, left.station))),
        (Ok(_), false) => {}
        (Err(error), true) => {
            let kind = match error {
                ProvisionError::Scrap { .. } => "scrap",
                ProvisionError::Foreign { .. } => "refused",
                _ => "interrupted",
            };
            let line = json!({ "event": kind, "index": left.index, "station": left.station, "reason": error.to_string() });
            bar.suspend(|| println!("{line}"));
        }
        (Err(error), false) => bar.suspend(|| eprintln!("chip {}: {error}", left.index)),
    }
}

fn shipped(device: &Shipped, station: usize) -> serde_json::Value {
    json!({
        "event": "shipped",
        "station": station,
        "element": device.element.to_string(),
        "device": device.device,
        "log_index": device.log_index,
        "certificate_bytes": device.certificate.len(),
        "certificate_on_element": device.certificate_on_element,
        "public_key": hex::encode(device.public_key),
        "directory": device.directory.display().to_string(),
        "already": device.already,
        "chip_ms": milliseconds(Some(device.chip)),
        "authority_ms": milliseconds(Some(device.authority)),
    })
}

fn milliseconds(duration: Option<Duration>) -> f64 {
    duration.map_or(0.0, |d| (d.as_secs_f64() * 100_000.0).round() / 100.0)
}

fn summarise(args: &Args, statistics: &Statistics, wall: Duration, stations: usize) {
    let chip = statistics.total(|s| !s.is_authority());
    let authority = statistics.total(Step::is_authority);
    if args.json {
        let steps: serde_json::Map<_, _> = Step::ALL
            .iter()
            .map(|step| {
                let at = |p| milliseconds(statistics.percentile(*step, p));
                (step.name().to_owned(), json!({ "p50_ms": at(50.0), "p95_ms": at(95.0), "p99_ms": at(99.0) }))
            })
            .collect();
        let line = json!({
            "event": "statistics", "shipped": statistics.shipped(), "failed": statistics.failed(), "failures": statistics.failures(),
            "success_rate": statistics.success_rate(), "wall_s": wall.as_secs_f64(), "stations": stations,
            "chip_s": chip.as_secs_f64(), "authority_s": authority.as_secs_f64(), "steps": steps,
        });
        println!("{line}");
        return;
    }
    let rate = statistics.success_rate().map_or("no device".to_owned(), |r| format!("{:.1} %", r * 100.0));
    println!(
        "shipped {} of {} ({rate}) on {stations} stations in {:.1} s",
        statistics.shipped(),
        statistics.shipped() + statistics.failed(),
        wall.as_secs_f64()
    );
    println!("time in chips {:.2} s, in the certificate authority {:.2} s", chip.as_secs_f64(), authority.as_secs_f64());
    statistics.failures().iter().for_each(|(place, count)| println!("  not shipped at {place}: {count}"));
    println!("  {:<20} {:>9} {:>9} {:>9}", "step", "p50 ms", "p95 ms", "p99 ms");
    for step in Step::ALL {
        let at = |p| milliseconds(statistics.percentile(step, p));
        println!("  {:<20} {:>9.2} {:>9.2} {:>9.2}", step.name(), at(50.0), at(95.0), at(99.0));
    }
}
