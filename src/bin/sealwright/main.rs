//! `sealwright`: ceremony, factory client, operator and auditor commands.
//!
//! Exit codes: 0 good, 1 bad verdict, 2 usage or environment.

mod bench;
mod ceremony;
mod enroll;
mod keys;
mod pin;
mod policy;
mod provision;
mod status;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// HSM-backed certificate authority for device factories.
#[derive(Parser)]
#[command(name = "sealwright", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check and explain issuance profiles.
    Policy(policy::Args),
    /// Carry out a key ceremony from one reviewed file, or resume an interrupted one.
    Ceremony(ceremony::Args),
    /// List and check the keys of a token.
    Keys(keys::Args),
    /// Ask the daemon for one certificate.
    Enroll(enroll::Args),
    /// Provision secure elements against the daemon.
    Provision(provision::Args),
    /// Show how the daemon is.
    Status(status::Args),
    /// Measure issuance on this machine against the limits of token, processor and disk.
    Bench(bench::Args),
    /// Verify a device's certificate chain offline, against roots given as files.
    Verify(verify::Args),
}

/// How a command ended without an error of usage or environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Exit code 0.
    Good,
    /// Exit code 1: the command worked and the answer is no.
    Bad,
}

/// Why a command could not do its work (exit code 2): one line that names the remedy.
pub type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("sealwright: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<Verdict, Failure> {
    match command {
        Command::Policy(args) => policy::run(args),
        Command::Ceremony(args) => ceremony::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Enroll(args) => enroll::run(args),
        Command::Provision(args) => provision::run(args),
        Command::Status(args) => status::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Verify(args) => verify::run(args),
    }
}
