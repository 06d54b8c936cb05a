//! `sealwright`: ceremony, factory client, operator and auditor commands.
//!
//! Exit codes: 0 good, 1 bad verdict, 2 usage or environment.

mod artifact;
mod audit;
mod bench;
mod ceremony;
mod element;
mod emulate;
mod enroll;
mod keys;
mod lint;
mod log;
mod logged;
mod pin;
mod policy;
mod provision;
mod status;
mod store;
mod verify;
mod witness;

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
    /// Judge certificates by RFC 5280 and device standards.
    Lint(lint::Args),
    /// List and check the keys of a token.
    Keys(keys::Args),
    /// Look at chips and chip profiles, and turn certificates into what chips store.
    Element(element::Args),
    /// Be a secure element for tests: an ATECC608 on a TCP port or a pseudo-terminal.
    Emulate(emulate::Args),
    /// Ask the daemon for one certificate.
    Enroll(enroll::Args),
    /// Provision secure elements against the daemon.
    Provision(provision::Args),
    /// Show how the daemon is.
    Status(status::Args),
    /// Sign files with a device key, and verify them offline.
    Artifact(artifact::Args),
    /// Check, search and back up a store, also while a daemon works on it.
    Store(store::Args),
    /// Measure issuance on this machine against the limits of token, processor and disk.
    Bench(bench::Args),
    /// Verify a device's certificate chain offline, against roots given as files.
    Verify(verify::Args),
    /// Witness the checkpoints of logs, and ask witnesses for cosignatures.
    Witness(witness::Args),
    /// Check a log on a machine that trusts nobody.
    Audit(audit::Args),
    /// Look into the transparency log, prove an entry, mirror the log.
    Log(log::Args),
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
        Command::Lint(args) => lint::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Element(args) => element::run(args),
        Command::Emulate(args) => emulate::run(args),
        Command::Enroll(args) => enroll::run(args),
        Command::Provision(args) => provision::run(args),
        Command::Status(args) => status::run(args),
        Command::Artifact(args) => artifact::run(args),
        Command::Store(args) => store::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Witness(args) => witness::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Log(args) => log::run(args),
    }
}
