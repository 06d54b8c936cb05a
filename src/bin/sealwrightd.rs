//! `sealwrightd`: the issuing daemon.
//!
//! Exit codes: 0 stopped as asked, 2 usage or environment.

use clap::Parser;
use sealwright::api::{daemon, server};
use sealwright::config::Config;
use sealwright::token::{TokenUri, signer};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Issues device certificates with keys in a PKCS#11 token.
#[derive(Parser)]
#[command(name = "sealwrightd", version, about, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// Configuration file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Make the empty store and log named by the configuration, then exit.
    #[arg(long)]
    init: bool,
}

/// Parts of the daemon that run as processes of their own.
#[derive(clap::Subcommand)]
enum Part {
    /// Hold the token's module and PIN and sign for the daemon on standard input, a socket.
    Signer(SignerArgs),
}

#[derive(clap::Args)]
struct SignerArgs {
    /// The vendor's PKCS#11 library.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// RFC 7512 URI of the token.
    #[arg(long, value_name = "URI")]
    token: String,
    /// File of mode 0600 that holds the user PIN.
    #[arg(long, value_name = "FILE")]
    pin_file: PathBuf,
    /// What each key may sign (TOML).
    #[arg(long, value_name = "FILE")]
    guard: PathBuf,
    /// Signing sessions, 1 to 64.
    #[arg(long, default_value_t = 2)]
    sessions: usize,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SEALWRIGHT_LOG").unwrap_or_else(|_| "info,cryptoki::mechanism=off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sealwrightd: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    // No core file ever holds a PIN.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    if let Some(Part::Signer(args)) = &cli.part {
        return sign(args);
    }
    let Some(config) = &cli.config else { return Err("--config FILE is missing".into()) };
    let config = Config::load(config)?;
    if cli.init {
        return Ok(daemon::create(&config)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

fn sign(args: &SignerArgs) -> Result<(), Failure> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let token = TokenUri::parse(&args.token)?;
    Ok(signer::serve(socket, &args.module, &token, &args.pin_file, &args.guard, args.sessions)?)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let running = daemon::start(&config).await?;
    let listener = server::bind(&config)?;
    tracing::info!(socket = %config.socket.display(), "ready");
    let (stop, stopped) = watch::channel(false);
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; finishing what is in hand");
        let _ = stop.send(true);
    });
    server::serve(listener, Arc::clone(running.issuance()), config, stopped).await;
    running.finish().await?;
    tracing::info!("stopped");
    Ok(())
}
