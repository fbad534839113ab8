//! `leaklab serve`: the service alone, or as the lab's child.

use std::{io, process::ExitCode};

use clap::Args;
use leakscope::memory;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Failure, instance::Instance};
use crate::{
    app,
    config::{RawSettings, Settings},
    supervisor::{self, Supervised},
    telemetry::logs,
};

/// Arguments of `leaklab serve`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub settings: RawSettings,

    /// Let leaks be switched on even where nothing limits this process: they can then take all of the machine's memory
    #[arg(long)]
    pub no_limit: bool,
}

/// Serves until it is told to stop, and answers what it has begun.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = arguments.settings.judge().map_err(Failure::usage)?;
    let supervised = Supervised::from_env();
    // Held until the end. The lab has taken the data folder for its child already. That it can't be written, the flight
    // recorder says.
    let _instance = match supervised {
        Some(_) => {
            supervisor::die_with_parent();
            None
        }
        None => Some(Instance::claim(&settings.data_dir)?),
    };
    logs::init(settings.log_format);
    #[cfg(target_os = "linux")]
    if let Err(error) = memory::lock_own_code() {
        tracing::info!(
            %error,
            "near its memory limit the service may hang before it is killed: its code can't be locked in memory \
             (more than `ulimit -l` allows)"
        );
    }
    let watcher_bytes = supervised.and_then(Supervised::watcher_bytes);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::unavailable)?;
    runtime.block_on(serve(settings, arguments.no_limit, watcher_bytes))
}

async fn serve(settings: Settings, no_limit: bool, watcher_bytes: Option<u64>) -> Result<ExitCode, Failure> {
    let stop = stop().map_err(Failure::unavailable)?;
    let address = settings.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| Failure::listen(address, &error))?;
    let app = app::build(settings, no_limit, memory::limit(watcher_bytes));
    app::serve(app, listener, stop).await.map_err(Failure::unavailable)?;
    Ok(ExitCode::SUCCESS)
}

/// Ready at SIGTERM or SIGINT; both are taken over at once.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let (mut terminate, mut interrupt): (Signal, Signal) = (terminate?, interrupt?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
