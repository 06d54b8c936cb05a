//! `sealwright policy`: check profiles before they decide anything.

use crate::{Failure, Verdict};
use clap::Subcommand;
use sealwright::policy::problem::{Problem, Source};
use sealwright::policy::set::{PolicySet, read_directory, read_source};
use serde_json::json;
use std::path::PathBuf;

/// Policy commands.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check profiles: every problem with its place and remedy.
    Check {
        /// Profile files, or directories of *.toml.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.command {
        Command::Check { paths, json } => check(&paths, json),
    }
}

fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = read_directory(path)?;
            if found.is_empty() {
                return Err(format!("{} holds no *.toml; name a directory of profiles", path.display()).into());
            }
            all.extend(found);
        } else {
            all.push(read_source(path)?);
        }
    }
    Ok(all)
}

fn check(paths: &[PathBuf], json: bool) -> Result<Verdict, Failure> {
    match PolicySet::from_sources(&sources(paths)?) {
        Ok(set) if json => {
            let names: Vec<&str> = set.iter().map(|p| p.name().as_str()).collect();
            println!("{}", json!({ "ok": true, "hash": hex::encode(set.hash()), "profiles": names, "problems": [] }));
            Ok(Verdict::Good)
        }
        Ok(set) => {
            for profile in set.iter() {
                println!("{:<24} {}", profile.name(), profile.description());
            }
            println!("policy hash sha256:{}", hex::encode(set.hash()));
            Ok(Verdict::Good)
        }
        Err(problems) => {
            if json {
                let list: Vec<_> = problems.iter().map(problem_json).collect();
                println!("{}", json!({ "ok": false, "problems": list }));
            } else {
                problems.iter().for_each(|p| eprintln!("{p}\n"));
                eprintln!("{} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" });
            }
            Ok(Verdict::Bad)
        }
    }
}

fn problem_json(p: &Problem) -> serde_json::Value {
    json!({ "file": p.file, "line": p.line, "column": p.column, "width": p.width, "message": p.message, "remedy": p.remedy })
}
