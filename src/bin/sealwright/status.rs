//! `sealwright status`: how the daemon is.

use crate::{Failure, Verdict};
use sealwright::api::client::Client;
use std::path::PathBuf;

/// Show the daemon's health; exit code 1 when it is degraded.
#[derive(clap::Args)]
pub struct Args {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let health = runtime.block_on(Client::new(&args.socket).health())?;
    if args.json {
        println!("{}", serde_json::to_string(&health)?);
    } else {
        println!("status        {}", health.status);
        health.problems.iter().for_each(|p| println!("  problem     {p}"));
        println!("version       {}", health.version);
        println!("certificates  {}", health.certificates);
        println!("log entries   {}", health.log_size);
        println!("log key       {}", health.log_key);
        println!("policy        {}", health.policy);
        if health.test_only {
            println!("keys          in a soft token: everything it signs is for tests only");
        }
        println!("unresolved    {}", health.unresolved.len());
        health.unresolved.iter().for_each(|s| println!("  serial      {s} (no certificate was released; revoke it)"));
    }
    Ok(if health.status == "ok" { Verdict::Good } else { Verdict::Bad })
}
