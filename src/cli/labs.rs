//! `leaklab labs`: which labs are passed; `leaklab check`: whether one is.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure,
    target::{NoAnswer, Target},
};
use crate::labs::{self, CheckResult, Overview, Standing};

/// Arguments of `leaklab labs`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,

    /// Where to look if no service answers
    #[arg(long, env = "LEAKLAB_DATA_DIR", value_name = "DIR", default_value = ".leaklab")]
    data_dir: PathBuf,

    /// Begin a lab anew, or `all` of them: what happened until now does not count for it any more
    #[arg(long, value_name = "ID")]
    reset: Option<String>,
}

/// Arguments of `leaklab check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Which lab [default: the first that is not passed]
    id: Option<String>,

    /// The answer, where the lab wants one, as JSON: '{"line": "src/main.rs:12"}'
    #[arg(long, value_name = "JSON")]
    answer: Option<String>,

    #[command(flatten)]
    target: Target,
}

/// Prints where each lab stands.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let standings = match &arguments.reset {
        Some(all) if all == "all" => arguments.target.post::<Overview>("/admin/labs/reset", None)?.labs,
        Some(id) => arguments.target.post::<Overview>(&format!("/admin/labs/{id}/reset"), None)?.labs,
        None => match arguments.target.get::<Overview>("/admin/labs") {
            Ok(overview) => overview.labs,
            Err(NoAnswer::Nobody(_)) => {
                eprintln!("no service answers; this is what {} says", arguments.data_dir.display());
                labs::read_standings(&arguments.data_dir)
            }
            Err(refused) => return Err(refused.into()),
        },
    };
    println!("{:<6} {:>7}  {:<20}  title", "lab", "minutes", "passed (UTC)");
    for Standing { id, minutes, passed_at, title, .. } in &standings {
        // To the second.
        let passed_at = passed_at.as_deref().and_then(|at| at.get(..19)).map(|at| at.replace('T', " "));
        println!("{id:<6} {minutes:>7}  {:<20}  {title}", passed_at.as_deref().unwrap_or("-"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks one lab's check, and prints what it says. Exit code 0: passed; 1: not yet.
pub fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let body = match &arguments.answer {
        Some(answer) => {
            let answer: Value = serde_json::from_str(answer)
                .map_err(|error| Failure::usage(format!("--answer is not JSON: {error}")))?;
            json!({ "answer": answer })
        }
        None => json!({}),
    };
    let standings = arguments.target.get::<Overview>("/admin/labs")?.labs;
    let id = match &arguments.id {
        Some(id) => id,
        None => match standings.iter().find(|it| !it.passed && !it.optional) {
            Some(next) => &next.id,
            None => {
                println!("all labs are passed");
                return Ok(ExitCode::SUCCESS);
            }
        },
    };
    let verdict: CheckResult = arguments.target.post(&format!("/admin/labs/{id}/check"), Some(&body))?;
    let title = standings.iter().find(|it| it.id == verdict.id).map_or("", |it| it.title.as_str());
    println!("lab {}, {title}: {}", verdict.id, if verdict.passed { "passed" } else { "not yet" });
    println!("  observed: {}", verdict.observed);
    for (name, text) in [("wanted", verdict.wanted), ("hint", verdict.hint)] {
        if let Some(text) = text {
            println!("  {:<9} {text}", format!("{name}:"));
        }
    }
    Ok(if verdict.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
