//! `leaklab post-mortem`: how a run of the service ended.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::Args;
use leakscope::recorder::History;

use super::Failure;
use crate::{
    post_mortem::{self, EndOfRun},
    recording,
};

/// Arguments of `leaklab post-mortem`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which run: 1 is the last one that ended, 2 the one before it
    #[arg(value_name = "N", default_value = "1")]
    n: NonZeroUsize,

    /// Folder for what outlives the process
    #[arg(long, env = "LEAKLAB_DATA_DIR", value_name = "DIR", default_value = ".leaklab")]
    data_dir: PathBuf,

    /// Print it as JSON, as GET /admin/post-mortem answers
    #[arg(long)]
    json: bool,
}

/// Prints it. Only reads: a service may run meanwhile. Exit code 1 if there is no such run.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let folder = recording::folder(&arguments.data_dir);
    let history = History::read(&folder);
    for problem in &history.problems {
        eprintln!("warning: {problem}");
    }
    let Some(of) = history.post_mortems.get(arguments.n.get() - 1) else {
        let kept = history.post_mortems.len();
        eprintln!(
            "{} knows the ends of {kept} runs; --data-dir (LEAKLAB_DATA_DIR) names another folder",
            folder.display()
        );
        return Ok(ExitCode::FAILURE);
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&EndOfRun::of(of)).map_err(Failure::unavailable)?);
    } else {
        println!("{}", post_mortem::lines(of).join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}
