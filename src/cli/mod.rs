//! The command line: `lab` (default), `serve`, `load`, `diff`, `healthcheck`, `post-mortem`, `labs`, `check`.
//!
//! Arguments are read here, and what went wrong becomes a message and an exit code here. The work is done elsewhere.

use std::{fmt::Display, process::ExitCode};

use clap::{Parser, Subcommand};

mod diff;
mod healthcheck;
mod instance;
mod lab;
mod labs;
mod load;
mod post_mortem;
mod serve;
mod target;

/// Bad arguments or settings: EX_USAGE of sysexits.h.
const USAGE: u8 = 64;
/// A file that does not hold what it should: EX_DATAERR.
const DATA: u8 = 65;
/// What is needed is not to be had, such as the port: EX_UNAVAILABLE.
const UNAVAILABLE: u8 = 69;
/// Another one runs already; later it may work: EX_TEMPFAIL.
const TEMPORARY: u8 = 75;

/// A service with memory bugs that can be switched on and off, under a real memory limit, and the instrument that finds
/// them.
#[derive(Debug, Parser)]
#[command(name = "leaklab", version, args_conflicts_with_subcommands = true, after_help = ENVIRONMENT)]
struct Cli {
    #[command(flatten)]
    lab: lab::Arguments,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service under the memory limit, and again after each kill (the default)
    #[command(after_help = ENVIRONMENT)]
    Lab(lab::Arguments),
    /// Run the service alone: in a container, or under any other limit
    #[command(after_help = ENVIRONMENT)]
    Serve(serve::Arguments),
    /// Send requests at a constant rate, and report latencies, errors and memory
    Load(load::Arguments),
    /// Say what grew between two saved heap profiles
    Diff(diff::Arguments),
    /// Ask a running service whether it is ready: exit code 0 if so, else 1
    Healthcheck(healthcheck::Arguments),
    /// Say how a run of the service ended: why, at how many bytes, and which lines had grown
    PostMortem(post_mortem::Arguments),
    /// Say which labs are passed
    Labs(labs::Arguments),
    /// Ask whether a lab is passed, and what is still wanted: exit code 0 if so, else 1
    Check(labs::CheckArguments),
}

/// What is read from the environment beside the settings, which name their own variables.
const ENVIRONMENT: &str = "\
Environment:
  Each setting above can be given by its variable; a flag wins over it. Beside these:
  RUST_LOG
          What is logged, as in `info,leaklab=debug` [default: info]
  OTEL_EXPORTER_OTLP_ENDPOINT
          Where spans go, over gRPC, such as http://127.0.0.1:4317 [default: none, no spans]
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
          The same for traces only; it wins
  OTEL_TRACES_EXPORTER
          `none`: no spans, whatever else is set [default: otlp]
  OTEL_SERVICE_NAME
          Name of the service in spans and metrics [default: leaky-service]
  OTEL_RESOURCE_ATTRIBUTES
          More attributes of the service, as in `key=value,key=value`
  OTEL_SDK_DISABLED
          `true`: no spans, whatever else is set [default: false]
  OTEL_TRACES_SAMPLER
          Which requests get spans [default: parentbased_always_on]
  OTEL_TRACES_SAMPLER_ARG
          The sampler's argument, such as 0.1
  OTEL_EXPORTER_OTLP_TIMEOUT
          Longest time of one export, in milliseconds [default: 10000]
  OTEL_BSP_SCHEDULE_DELAY
          Longest time that a span waits, in milliseconds [default: 5000]
  OTEL_BSP_MAX_QUEUE_SIZE
          Spans that may wait; more are dropped and counted [default: 2048]
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE
          Spans in one export [default: 512]
  OTEL_BSP_EXPORT_TIMEOUT
          Longest time of one export with its retries, in milliseconds [default: 30000]";

/// Parses the arguments and runs what they ask for.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wanted = !error.use_stderr();
            let _ = error.print();
            return if wanted { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let done = match cli.command.unwrap_or(Command::Lab(cli.lab)) {
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::PostMortem(arguments) => post_mortem::run(&arguments),
        Command::Labs(arguments) => labs::run(&arguments),
        Command::Check(arguments) => labs::check(&arguments),
    };
    done.unwrap_or_else(|failure| {
        for line in failure.message.lines() {
            eprintln!("error: {}", line.trim_start_matches("error: "));
        }
        ExitCode::from(failure.code)
    })
}

/// What a command could not do.
#[derive(Debug)]
struct Failure {
    /// One line for each thing that was wrong.
    message: String,
    code: u8,
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: USAGE }
    }

    fn unavailable(message: impl Display) -> Self {
        Self { message: message.to_string(), code: UNAVAILABLE }
    }

    /// The error of a socket that could not be bound.
    fn listen(address: std::net::SocketAddr, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program listens there; stop it, or choose another port with"
            }
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another with",
            _ => "choose another address with",
        };
        Self::unavailable(format!(
            "can't listen on {address}: {error}; {advice} --listen (LEAKLAB_LISTEN), such as --listen 127.0.0.1:8081"
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_work_with_and_without_the_command_s_name() {
        for arguments in [
            &["leaklab", "--limit", "64MiB", "--enforce", "watcher"][..],
            &["leaklab", "lab", "--limit", "64MiB", "--enforce", "watcher"],
        ] {
            let cli = Cli::try_parse_from(arguments).expect("both forms are right");
            let lab = match cli.command {
                Some(Command::Lab(lab)) => lab,
                None => cli.lab,
                other => panic!("{other:?}"),
            };
            assert_eq!(lab.settings.limit, "64MiB");
        }
        let mixed = Cli::try_parse_from(["leaklab", "--limit", "64MiB", "serve"]);
        assert_eq!(mixed.expect_err("it would be ignored").kind(), ErrorKind::ArgumentConflict);
    }
}
