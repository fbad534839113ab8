//! The lab's loop: start the service under its limit, live with it until it ends, tell how it ended, start it again.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backoff::Backoff,
    console::Console,
    ending::{self, Ending},
    enforcer::{Enforce, Enforcer, LimitGuard},
    plan::{LabPlan, reachable},
    poll::{self, Heard, Poll},
    recent::RecentVitals,
    service::ServiceProcess,
    signals::StopSignals,
};
use crate::http::client::Client;

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

/// Writes down what was seen of the service's end, and tells what else is known of it; `None`: nothing is.
pub type DescribeEnd<'a> = &'a dyn Fn(&Ending) -> Option<String>;

/// Runs the lab until SIGINT, SIGTERM or SIGHUP. Call it on the main thread: see `service`.
///
/// # Errors
/// See [`Failure`]; that the service dies again and again is none.
pub fn run(plan: &LabPlan, console: Console, describe_end: DescribeEnd<'_>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    runtime.block_on(Lab::new(plan, console, describe_end)?.run())
}

/// The lab between two starts of the service.
struct Lab<'a> {
    plan: &'a LabPlan,
    describe_end: DescribeEnd<'a>,
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
    fn new(plan: &'a LabPlan, console: Console, describe_end: DescribeEnd<'a>) -> Result<Self, Failure> {
        Ok(Self {
            plan,
            describe_end,
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
            if let (Some(code), false) = (ending.seen.exit_code, self.was_ready) {
                return Err(Failure::Service(code));
            }
            self.ended = Some(Instant::now());
            let delay = self.backoff.after(ending.lived);
            let told = (self.describe_end)(&ending);
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
    fn start(&mut self) -> Result<(ServiceProcess, LimitGuard), Failure> {
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

    fn try_start(&self) -> io::Result<(ServiceProcess, LimitGuard)> {
        let mut guard = self.enforcer.guard(self.plan.limit_bytes)?;
        let service = ServiceProcess::start(self.plan, &guard, &self.console)?;
        guard.watch(service.pid())?;
        Ok((service, guard))
    }

    fn announce(&self) {
        if let Enforcer::Cgroup(parent) = &self.enforcer
            && parent.swept() > 0
        {
            self.console.say(format!("removed {} cgroup(s) left by a lab that was killed", parent.swept()));
        }
        self.console.say(self.enforcer.describe(self.plan.limit_bytes));
    }

    /// One life of the service, from its start to its end.
    async fn live(
        &mut self,
        mut service: ServiceProcess,
        guard: LimitGuard,
        stop: &mut StopSignals,
    ) -> io::Result<Outcome> {
        let started = Instant::now();
        let mut poll = Poll::start(&self.client, reachable(self.plan.address));
        let mut recent = RecentVitals::default();
        let status = loop {
            tokio::select! {
                status = service.ended() => break status?,
                heard = poll.next() => match heard {
                    Heard::Ready => self.ready(started),
                    Heard::Vitals(at, vitals) => {
                        recent.push(at, vitals);
                        self.console.show(&recent, self.plan.limit_bytes);
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
        Ok(Outcome::Ended(Ending {
            seen: ending::witness(service.pid(), status, guard.report(), self.plan.limit_bytes),
            limit_bytes: self.plan.limit_bytes,
            lived: end - started,
            requests: recent.latest().map(|vitals| vitals.api_requests),
            growing: recent.growing(end),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_can_t_start_ends_the_lab_instead_of_looping() {
        let start = |program: &str| {
            let plan = LabPlan {
                program: program.into(),
                arguments: Vec::new(),
                address: ([127, 0, 0, 1], 9).into(),
                limit_bytes: 64 << 20,
                enforce: Enforce::Watcher,
                welcome: String::new(),
            };
            run(&plan, Console::new(plan.limit_bytes), &|_| None)
        };
        assert!(matches!(start("/bin/false"), Err(Failure::Service(1))));
        assert!(matches!(start("/nowhere/leaklab"), Err(Failure::Start(_))));
    }
}
