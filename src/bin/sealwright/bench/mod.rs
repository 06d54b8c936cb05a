//! `sealwright bench`: the whole system on this machine, beside what the machine could do at best.
//!
//! A throw-away factory (SoftHSM tokens, ceremonies, store, log, the real daemon on its socket)
//! is made in a new directory and removed afterwards. The baseline, raw signatures of the same
//! token, one proof of possession, one self-verification and one durable append, is measured in
//! the same run, because only the ratio to it travels from machine to machine.

mod baseline;
mod load;
mod plant;
mod report;

use crate::{Failure, Verdict};
use plant::Plant;
use std::path::PathBuf;
use std::process::Command;

/// Measure issuance over the daemon's socket against the limits of token, processor and disk.
#[derive(clap::Args)]
pub struct Args {
    /// Callers at a time; one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1u16, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    callers: Vec<u16>,
    /// Certificates in a run; a run with one caller has at most 2000.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=5_000_000))]
    count: u32,
    /// Token sessions of the daemon, and threads of the raw measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    sessions: u16,
    /// SoftHSM's library.
    #[arg(long, value_name = "PATH", default_value = "/usr/lib/softhsm/libsofthsm2.so")]
    softhsm: PathBuf,
    /// Directory on the disk to measure; the system's temporary directory when absent.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Leave the factory for inspection.
    #[arg(long)]
    keep: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The directory made by the outer process: SoftHSM reads its configuration from the
    /// environment, once, so the measurement needs a process that was started with it.
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// Runs the command; a certificate that is refused or does not verify makes a bad verdict.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match &args.inside {
        Some(directory) => measure(&args, &Plant::at(directory)),
        None => outside(&args),
    }
}

/// Makes the directory and runs this program again with SoftHSM's configuration in it.
fn outside(args: &Args) -> Result<Verdict, Failure> {
    let plant = Plant::create(args.directory.clone().unwrap_or_else(std::env::temp_dir))?;
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).arg("--inside").arg(plant.directory());
    let ended = again.env("SOFTHSM2_CONF", plant.softhsm_conf()).status()?;
    if args.keep {
        eprintln!("the factory is left in {}", plant.directory().display());
    } else {
        plant.remove()?;
    }
    match ended.code() {
        Some(0) => Ok(Verdict::Good),
        Some(1) => Ok(Verdict::Bad),
        _ => Err("the measurement failed; its words are above".into()),
    }
}

fn measure(args: &Args, plant: &Plant) -> Result<Verdict, Failure> {
    let say = |text: &str| {
        if !args.json {
            eprintln!("{text}");
        }
    };
    say("ceremonies on throw-away tokens …");
    let serial = plant.ceremonies(&args.softhsm)?;
    say("making device keys and requests …");
    let counts: Vec<usize> = args.callers.iter().map(|c| if *c == 1 { args.count.min(2000) } else { args.count } as usize).collect();
    let requests = load::prepare(counts.iter().sum())?;
    say("baseline: token, processor, disk …");
    let before = baseline::measure(args, plant, &serial, &requests[0].csr)?;
    let mut daemon = plant.start_daemon(&args.softhsm, &serial, usize::from(args.sessions))?;
    let (mut runs, mut rest) = (Vec::new(), requests.as_slice());
    for (callers, count) in args.callers.iter().zip(counts) {
        let (mine, others) = rest.split_at(count);
        rest = others;
        say(&format!("{count} certificates, {callers} callers …"));
        runs.push(load::run(plant, &daemon, mine, usize::from(*callers), !args.json)?);
    }
    daemon.stop()?;
    let chains = baseline::verify_chains(plant, runs.iter().flat_map(|r| &r.sample))?;
    let report = report::Report::new(before, chains, &runs, plant.disk_bytes()?);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(if report.is_good() { Verdict::Good } else { Verdict::Bad })
}
