//! The lab: runs the service as a child under a memory limit where no container does, tells what ends it, and starts it
//! again.
//!
//! It knows the service as anybody outside does: a program that listens on an address and answers `/readyz` and
//! `/metrics`. Nothing of the leaks' or the instrument's code is used here.

use std::{
    ffi::OsString,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

mod backoff;
mod cgroup;
mod console;
mod ending;
mod enforcer;
mod history;
mod lifeline;
mod poll;
mod service;
mod watcher;

use backoff::Backoff;
pub use console::Console;
pub use ending::{Cause, Certainty, Ending};
pub use enforcer::Enforce;
use enforcer::{Enforcer, Guard};
use history::History;
pub use lifeline::{Supervised, die_with_parent};
use poll::{Heard, Poll};
use service::Service;

use crate::http::client::Client;

/// Signals that come within this time are one request to stop.
const ONE_REQUEST: Duration = Duration::from_millis(300);

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The service's program.
    pub program: PathBuf,
    /// Its arguments; they make it listen on `address`.
    pub arguments: Vec<OsString>,
    /// Where it listens; the port is known.
    pub address: SocketAddr,
    /// Its memory limit.
    pub limit_bytes: u64,
    /// Who is to hold it to that.
    pub enforce: Enforce,
    /// Said once, when it is ready for the first time.
    pub welcome: String,
}

/// Why the lab could not go on.
#[derive(Debug)]
pub enum Failure {
    /// A cgroup was demanded and there can be none.
    NoCgroup(String),
    /// The service could not be started at all.
    Start(io::Error),
    /// The service ended by itself before it was ever ready; it has said why. Its exit code.
    Service(i32),
    /// The system refused something that the lab itself needs.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCgroup(reason) => write!(
                f,
                "--enforce cgroup (LEAKLAB_ENFORCER) can't be had here: {reason}; run as root, in a cgroup delegated to \
                 you, or with --enforce watcher"
            ),
            Self::Start(error) => write!(f, "the service can't be started: {error}"),
            Self::Service(code) => write!(f, "the service ended before it was ready, with exit code {code}"),
            Self::System(error) => write!(f, "the lab can't run here: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// An address under which a service that listens on `address` can be reached from this machine.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Writes down what was seen of the service's end, and tells what else is known of it; `None`: nothing is.
pub type Obituary<'a> = &'a dyn Fn(&Ending) -> Option<String>;

/// Runs the lab until SIGINT, SIGTERM or SIGHUP. Call it on the main thread: see `service`.
///
/// # Errors
/// See [`Failure`]; that the service dies again and again is none.
pub fn run(plan: &Plan, console: Console, obituary: Obituary<'_>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    runtime.block_on(Lab::new(plan, console, obituary)?.run())
}

/// The lab between two starts of the service.
struct Lab<'a> {
    plan: &'a Plan,
    obituary: Obituary<'a>,
    console: Arc<Console>,
    client: Client,
    enforcer: Enforcer,
    backoff: Backoff,
    /// When the last life ended; `None` before the first start.
    ended: Option<Instant>,
    was_ready: bool,
}

/// How a life of the service went out.
enum Outcome {
    /// We were asked to stop, and it has stopped.
    Stopped,
    /// It ended.
    Ended(Ending),
}

impl<'a> Lab<'a> {
    fn new(plan: &'a Plan, console: Console, obituary: Obituary<'a>) -> Result<Self, Failure> {
        Ok(Self {
            plan,
            obituary,
            console: Arc::new(console),
            client: poll::client(),
            enforcer: Enforcer::choose(plan.enforce).map_err(Failure::NoCgroup)?,
            backoff: Backoff::default(),
            ended: None,
            was_ready: false,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut stop = StopSignals::new().map_err(Failure::System)?;
        loop {
            self.console.waiting(Duration::ZERO);
            let (service, guard) = self.start()?;
            let ending = match self.live(service, guard, &mut stop).await.map_err(Failure::System)? {
                Outcome::Stopped => return Ok(()),
                Outcome::Ended(ending) => ending,
            };
            if let (Cause::Exited { code }, false) = (&ending.cause, self.was_ready) {
                return Err(Failure::Service(*code));
            }
            self.ended = Some(Instant::now());
            let delay = self.backoff.after(ending.lived);
            let told = (self.obituary)(&ending);
            self.console.say(told.unwrap_or_else(|| ending.to_string()));
            if !delay.is_zero() {
                self.console.say(format!("it died young; the next start is in {} s", delay.as_secs_f64()));
            }
            self.console.waiting(delay);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.next() => return Ok(()),
            }
        }
    }

    /// Starts the service under its limit. Where it can't enter the cgroup after all, the watcher takes over, if it may.
    fn start(&mut self) -> Result<(Service, Guard), Failure> {
        let first = self.ended.is_none();
        let started = match self.try_start() {
            Err(error)
                if matches!(self.enforcer, Enforcer::Cgroup(_)) && self.plan.enforce == Enforce::Auto =>
            {
                let instead_of_cgroup = format!("the service could not be put into a cgroup: {error}");
                self.enforcer = Enforcer::Watcher { instead_of_cgroup };
                self.try_start()
            }
            started => started,
        };
        if first && started.is_ok() {
            self.announce();
        }
        started.map_err(Failure::Start)
    }

    fn try_start(&self) -> io::Result<(Service, Guard)> {
        let mut guard = self.enforcer.guard(self.plan.limit_bytes)?;
        let service = Service::start(self.plan, &guard, &self.console)?;
        guard.watch(service.pid())?;
        Ok((service, guard))
    }

    fn announce(&self) {
        if let Enforcer::Cgroup(place) = &self.enforcer
            && place.swept() > 0
        {
            self.console.say(format!("removed {} cgroup(s) left by a lab that was killed", place.swept()));
        }
        self.console.say(self.enforcer.describe(self.plan.limit_bytes));
    }

    /// One life of the service, from its start to its end.
    async fn live(
        &mut self,
        mut service: Service,
        guard: Guard,
        stop: &mut StopSignals,
    ) -> io::Result<Outcome> {
        let started = Instant::now();
        let mut poll = Poll::start(&self.client, reachable(self.plan.address));
        let mut history = History::default();
        let status = loop {
            tokio::select! {
                status = service.ended() => break status?,
                heard = poll.next() => match heard {
                    Heard::Ready => self.ready(started),
                    Heard::Vitals(at, vitals) => {
                        history.push(at, vitals);
                        self.console.show(&history, self.plan.limit_bytes);
                    }
                },
                () = stop.next() => {
                    self.console.say("stopping the service");
                    let by_itself = service.stop(stop.again()).await?;
                    self.console.say(if by_itself { "stopped" } else { "it did not stop by itself: killed" });
                    return Ok(Outcome::Stopped);
                }
            }
        };
        let end = Instant::now();
        let (cause, certainty, evidence) = ending::judge(status, guard.verdict(), self.plan.limit_bytes);
        Ok(Outcome::Ended(Ending {
            pid: service.pid(),
            cause,
            certainty,
            evidence,
            limit_bytes: self.plan.limit_bytes,
            lived: end - started,
            requests: history.latest().map(|vitals| vitals.api_requests),
            growing: history.growing(end),
        }))
    }

    fn ready(&mut self, started: Instant) {
        let url = format!("http://{}", reachable(self.plan.address));
        match self.ended {
            Some(ended) => {
                self.console
                    .say(format!("ready again after {:.2} s at {url}", ended.elapsed().as_secs_f64()));
            }
            None => {
                self.console.say(format!("ready after {:.2} s at {url}", started.elapsed().as_secs_f64()));
                self.console.say(&self.plan.welcome);
            }
        }
        self.was_ready = true;
    }
}

/// What asks the lab to stop: Ctrl-C, `kill`, and a terminal that was closed.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// The user's second request, which means "at once". What comes with the first one is still the first: `timeout` and
    /// process managers signal a process and then its group.
    async fn again(&mut self) {
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() >= ONE_REQUEST {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_can_t_start_ends_the_lab_instead_of_looping() {
        let run = |program: &str| {
            let plan = Plan {
                program: program.into(),
                arguments: Vec::new(),
                address: ([127, 0, 0, 1], 9).into(),
                limit_bytes: 64 << 20,
                enforce: Enforce::Watcher,
                welcome: String::new(),
            };
            super::run(&plan, Console::new(plan.limit_bytes), &|_| None)
        };
        assert!(matches!(run("/bin/false"), Err(Failure::Service(1))));
        assert!(matches!(run("/nowhere/leaklab"), Err(Failure::Start(_))));
    }
}
