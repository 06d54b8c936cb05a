//! `sealwright policy`: check, explain, test and compare profiles before they decide anything.

mod bundle;
mod explain;
mod test;

use crate::{Failure, Verdict};
use clap::Subcommand;
use sealwright::policy::describe::{Change, diff};
use sealwright::policy::problem::{Problem, Source};
use sealwright::policy::set::{PolicySet, read_directory, read_source};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The keys of a profile as editors understand them (JSON Schema 2020-12).
const SCHEMA: &str = include_str!("../../../../policies/profile.schema.json");

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
    /// Show a profile flattened, and which rule would decide what for a request.
    Explain(explain::Args),
    /// Run the cases beside the profiles (DIR/cases/*.toml).
    Test(test::Args),
    /// Print the JSON schema of profiles, for editors.
    Schema,
    /// Write the MANIFEST of a directory of profiles, ready to be approved.
    Seal(bundle::Seal),
    /// Verify a bundle: files, manifest, and the approvals of M people.
    Verify(bundle::Verify),
    /// Show what changes in meaning between two sets (exit 1 when anything does).
    Diff {
        /// Directory or file.
        old: PathBuf,
        /// Directory or file.
        new: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.command {
        Command::Check { paths, json } => check(&paths, json),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Schema => {
            print!("{SCHEMA}");
            Ok(Verdict::Good)
        }
        Command::Seal(args) => bundle::seal(&args),
        Command::Verify(args) => bundle::verify(&args),
        Command::Diff { old, new, json } => compare(&old, &new, json),
    }
}

fn sources(path: &Path) -> Result<Vec<Source>, Failure> {
    if !path.is_dir() {
        return Ok(vec![read_source(path)?]);
    }
    match read_directory(path)? {
        none if none.is_empty() => Err(format!("{} holds no *.toml; name a directory of profiles", path.display()).into()),
        found => Ok(found),
    }
}

/// Loads a directory or file whose problems are not the subject of the command.
fn load(path: &Path) -> Result<PolicySet, Failure> {
    PolicySet::from_sources(&sources(path)?).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{} is not a good policy:\n{}", path.display(), all.join("\n")).into()
    })
}

fn check(paths: &[PathBuf], json: bool) -> Result<Verdict, Failure> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(sources(path)?);
    }
    match PolicySet::from_sources(&all) {
        Ok(set) if json => {
            let names: Vec<&str> = set.iter().map(|p| p.name().as_str()).collect();
            println!("{}", json!({ "ok": true, "hash": hex::encode(set.hash()), "profiles": names, "problems": [] }));
            Ok(Verdict::Good)
        }
        Ok(set) => {
            for profile in set.iter() {
                println!("{:<26} {}", profile.name().as_str(), profile.description());
            }
            println!("policy hash sha256:{}", hex::encode(set.hash()));
            Ok(Verdict::Good)
        }
        Err(problems) => {
            report(&problems, json);
            Ok(Verdict::Bad)
        }
    }
}

fn report(problems: &[Problem], json: bool) {
    if json {
        let one = |p: &Problem| json!({ "file": p.file, "line": p.line, "column": p.column, "width": p.width, "message": p.message, "remedy": p.remedy });
        let list: Vec<_> = problems.iter().map(one).collect();
        println!("{}", json!({ "ok": false, "problems": list }));
    } else {
        problems.iter().for_each(|p| eprintln!("{p}\n"));
        eprintln!("{} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" });
    }
}

fn compare(old: &Path, new: &Path, json: bool) -> Result<Verdict, Failure> {
    let changes = diff(&load(old)?, &load(new)?);
    if json {
        let list: Vec<_> = changes.iter().map(change_json).collect();
        println!("{}", json!({ "same": changes.is_empty(), "changes": list }));
    } else {
        changes.iter().for_each(|c| println!("{c}"));
    }
    Ok(if changes.is_empty() { Verdict::Good } else { Verdict::Bad })
}

fn change_json(change: &Change) -> serde_json::Value {
    match change {
        Change::Added(profile) => json!({ "profile": profile, "change": "added" }),
        Change::Removed(profile) => json!({ "profile": profile, "change": "removed" }),
        Change::Rule { profile, key, old, new } => json!({ "profile": profile, "change": "rule", "key": key, "old": old, "new": new }),
    }
}
