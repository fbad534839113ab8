//! The one door for contributors: `cargo xtask --help` says what there is.
//!
//! Each command is a script of `.ci/`, a call of cargo, or `tidy`. What a command does stands there, so that CI and a
//! contributor run the same.

mod tidy;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

/// A command: what it is called, what it does, and how long it takes.
struct Door {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> ExitCode,
}

const COMMANDS: &[Door] = &[
    Door { name: "tidy", about: "the rules of the house: rooms, names, lists in documents (1 s)", run: tidy },
    Door { name: "test", about: "quick tests, what cargo calls `cargo test` (minutes)", run: test },
    Door { name: "gate", about: "everything that must hold before a change lands (35 min)", run: gate },
    Door {
        name: "long",
        about: "in full, what the gate repeats only a few times: trend, recorder, kills (half an hour)",
        run: long,
    },
    Door {
        name: "labs",
        about: "follows labs/*.md as a learner does, or only the files that you name",
        run: labs,
    },
    Door {
        name: "dashboards",
        about: "Grafana's dashboards, without Grafana (needs promtool)",
        run: dashboards,
    },
    Door { name: "bench", about: "what the measuring costs, on this machine", run: bench },
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return (command.run)(&rest);
    }
    println!("usage: cargo xtask COMMAND\n");
    COMMANDS.iter().for_each(|command| println!("  {:<12}{}", command.name, command.about));
    if matches!(&*name, "--help" | "-h" | "help") { ExitCode::SUCCESS } else { ExitCode::from(64) }
}

fn tidy(_: &[String]) -> ExitCode {
    let problems = tidy::problems(root());
    problems.iter().for_each(|problem| println!("{problem}"));
    println!("tidy: {} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" });
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn test(arguments: &[String]) -> ExitCode {
    cargo(&["test", "--locked"], arguments)
}

fn gate(arguments: &[String]) -> ExitCode {
    run(".ci/run", &[], arguments)
}

fn long(arguments: &[String]) -> ExitCode {
    run(".ci/long", &[], arguments)
}

fn labs(files: &[String]) -> ExitCode {
    let built = cargo(&["build", "--locked", "--release"], &[]);
    if built != ExitCode::SUCCESS { built } else { run(".ci/labs", &["target/release/leaklab"], files) }
}

fn dashboards(arguments: &[String]) -> ExitCode {
    run(".ci/check-dashboards", &[], arguments)
}

fn bench(arguments: &[String]) -> ExitCode {
    cargo(&["bench", "--locked"], arguments)
}

fn cargo(first: &[&str], rest: &[String]) -> ExitCode {
    run(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), first, rest)
}

/// Runs a program in the checkout's root; its exit code is ours.
fn run(program: &str, first: &[&str], rest: &[String]) -> ExitCode {
    match Command::new(program).args(first).args(rest).current_dir(root()).status() {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}
