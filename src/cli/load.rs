//! `leaklab load`: constant-rate load for one URL.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::load::{self, RawPlan};

/// Arguments of `leaklab load`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    plan: RawPlan,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Sends, then prints the report; Ctrl-C ends it early. Exit code 1 if nothing at all was answered.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let plan = arguments.plan.judge().map_err(Failure::usage)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::unavailable)?;
    let report = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::unavailable)?;
        let stop = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        Ok::<_, Failure>(load::run(&plan, stop).await)
    })?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report).map_err(Failure::unavailable)?);
    } else {
        print!("{report}");
    }
    Ok(if report.answered() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
