//! `sealwright policy test`: the table-driven cases beside the profiles.

use crate::{Failure, Verdict};
use sealwright::policy::cases::CaseFile;
use sealwright::policy::set::read_directory;
use serde_json::json;
use std::path::PathBuf;

/// Run the cases beside the profiles.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of profiles; the cases are in its folder `cases`.
    #[arg(default_value = "policies")]
    policies: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Verdict, Failure> {
    let set = super::load(&args.policies)?;
    let mut results = Vec::new();
    for source in read_directory(&args.policies.join("cases"))? {
        match CaseFile::parse(&source) {
            Ok(file) => results.extend(file.run(&set).into_iter().map(|r| (file.profile().to_string(), r))),
            Err(problems) => {
                super::report(&problems, args.json);
                return Ok(Verdict::Bad);
            }
        }
    }
    let untested: Vec<&str> = set.iter().map(|p| p.name().as_str()).filter(|n| !results.iter().any(|(p, _)| p == n)).collect();
    let failed = results.iter().filter(|(_, r)| r.difference.is_some()).count();
    if args.json {
        let list: Vec<_> = results.iter().map(|(p, r)| json!({ "profile": p, "case": r.name, "difference": r.difference })).collect();
        println!("{}", json!({ "cases": list, "failed": failed, "untested": untested }));
    } else {
        for (profile, result) in results.iter() {
            match &result.difference {
                None => println!("ok     {profile}: {}", result.name),
                Some(difference) => println!("FAILED {profile}: {}\n{difference}", result.name),
            }
        }
        println!(
            "{} cases, {failed} failed{}",
            results.len(),
            if untested.is_empty() { String::new() } else { format!("; without cases: {}", untested.join(", ")) }
        );
    }
    Ok(if failed == 0 { Verdict::Good } else { Verdict::Bad })
}
