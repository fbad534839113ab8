//! `leaklab lab`: the service under its limit, in a child process.

use std::{
    env, ffi::OsString, io::IsTerminal, net::SocketAddr, net::TcpListener, path::Path, process::ExitCode,
};

use clap::Args;
use leakscope::recorder::History;

use super::{Failure, instance::Instance};
use crate::{
    config::{BadSettings, RawSettings, Settings},
    post_mortem, recording,
    supervisor::{self, Console, Ending, Enforce, LabPlan},
};

/// Arguments of `leaklab lab`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub settings: RawSettings,

    /// Who holds the service to the limit: `cgroup` (the kernel), `watcher` (samples RSS), or `auto`: a cgroup where one
    /// can be made
    #[arg(long, env = "LEAKLAB_ENFORCER", value_name = "WHO", default_value = "auto")]
    pub enforce: String,
}

impl Arguments {
    /// All bad values at once.
    fn judge(&self) -> Result<(Settings, Enforce), BadSettings> {
        let enforce = Enforce::parse(&self.enforce).ok_or_else(|| {
            let names = Enforce::NAMES.join(", ");
            format!("--enforce (LEAKLAB_ENFORCER) is {:?}; it wants one of {names}", self.enforce)
        });
        match (self.settings.judge(), enforce) {
            (Ok(settings), Ok(enforce)) => Ok((settings, enforce)),
            (Ok(_), Err(bad)) => Err(BadSettings(vec![bad])),
            (Err(bad), Ok(_)) => Err(bad),
            (Err(mut bad), Err(one_more)) => {
                bad.0.push(one_more);
                Err(bad)
            }
        }
    }
}

/// Runs the lab until it is told to stop.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (settings, enforce) = arguments.judge().map_err(Failure::usage)?;
    let instance = Instance::claim(&settings.data_dir)?;
    let address = free_address(settings.listen)?;
    let plan = LabPlan {
        program: env::current_exe().map_err(Failure::unavailable)?,
        arguments: serve_arguments(&arguments.settings, address, std::io::stdout().is_terminal()),
        address,
        limit_bytes: settings.limit_bytes,
        enforce,
        welcome: welcome(address),
    };
    let console = Console::new(plan.limit_bytes);
    if let Some(warning) = instance.warning() {
        console.say(warning);
    }
    let folder = recording::folder(&settings.data_dir);
    match supervisor::run(&plan, console, &|ending| describe_end(&folder, ending)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            let code = match failure {
                supervisor::Failure::Service(code) => u8::try_from(code).unwrap_or(super::UNAVAILABLE),
                _ => super::UNAVAILABLE,
            };
            Err(Failure { message: failure.to_string(), code })
        }
    }
}

/// Leaves beside the recorder's files what the supervisor saw, and says what these make of it.
fn describe_end(folder: &Path, ending: &Ending) -> Option<String> {
    ending.seen.write(folder).ok()?;
    let history = History::settle(folder);
    let last =
        history.post_mortems.first().filter(|last| last.pid == ending.seen.pid && history.judged_now > 0)?;
    Some(post_mortem::lines(last).join("\n"))
}

/// The address with a real port, after a look whether it can be had: a taken port is said before a child is started, and
/// the service keeps its port from one life to the next.
fn free_address(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    TcpListener::bind(listen)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::listen(listen, &error))
}

/// `serve` with the same settings. A pipe is no terminal, so what `auto` means for the log is decided here.
fn serve_arguments(settings: &RawSettings, address: SocketAddr, terminal: bool) -> Vec<OsString> {
    // Named one by one: a new setting that is forgotten here does not compile.
    let RawSettings { listen: _, limit, work_ms, data_dir, leaks, allowed_hosts, log_format } = settings;
    let log_format = if terminal && log_format == "auto" { "text" } else { log_format };
    let flags = [
        ("listen", &*address.to_string()),
        ("limit", limit),
        ("work-ms", work_ms),
        ("data-dir", data_dir),
        ("leaks", leaks),
        ("allowed-hosts", allowed_hosts),
        ("log-format", log_format),
    ];
    let flags = flags.iter().map(|(name, value)| format!("--{name}={value}").into());
    [OsString::from("serve")].into_iter().chain(flags).collect()
}

fn welcome(address: SocketAddr) -> String {
    let url = format!("http://{}", supervisor::reachable(address));
    let program = env::args().next().unwrap_or_else(|| "leaklab".to_owned());
    format!(
        "what to type next, in a second terminal:\n\
         curl -s -X POST {url}/admin/leaks/cache -d '{{\"enabled\":true}}'   # switch a leak on\n\
         curl -s {url}/admin/memory/diff                                # first call: the baseline\n\
         {program} load --url {url}/api/data --rate 50 --duration 60s   # traffic\n\
         curl -s {url}/admin/memory/diff                                # which line holds what grew\n\
         more at {url}/docs; Ctrl-C stops everything"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_child_gets_the_same_settings() {
        let typed = ["leaklab", "--limit", "64MiB", "--leaks", "cache", "--data-dir", "a b", "--work-ms=0"];
        let cli = Cli::try_parse_from(typed).expect("right");
        let address = SocketAddr::from(([127, 0, 0, 1], 4711));
        let program = [OsString::from("leaklab")];
        let child = program.into_iter().chain(serve_arguments(&cli.lab.settings, address, true));
        let child = Cli::try_parse_from(child).expect("the child understands it");
        let Some(crate::cli::Command::Serve(serve)) = child.command else { panic!("{child:?}") };
        let expected = RawSettings {
            listen: "127.0.0.1:4711".into(),
            log_format: "text".into(),
            ..cli.lab.settings.clone()
        };
        assert_eq!(format!("{:?}", serve.settings), format!("{expected:?}"));
    }

    #[test]
    fn the_lab_s_own_setting_is_reported_with_the_others() {
        let cli =
            Cli::try_parse_from(["leaklab", "--limit", "much", "--enforce", "police"]).expect("text is text");
        let BadSettings(lines) = cli.lab.judge().expect_err("both are bad");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("LEAKLAB_ENFORCER") && lines[1].contains("auto, cgroup, watcher"));
    }
}
