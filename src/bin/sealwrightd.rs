//! `sealwrightd`: the issuing daemon.
//!
//! Exit codes: 0 stopped as asked, 2 usage or environment.

use clap::Parser;
use sealwright::api::{daemon, server};
use sealwright::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Issues device certificates with keys in a PKCS#11 token.
#[derive(Parser)]
#[command(name = "sealwrightd", version, about)]
struct Cli {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Make the empty store and log named by the configuration, then exit.
    #[arg(long)]
    init: bool,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SEALWRIGHT_LOG").unwrap_or_else(|_| "info".into());
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
    let config = Config::load(&cli.config)?;
    if cli.init {
        return Ok(daemon::create(&config)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
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
