//! What every test against the running binary needs: start it, ask it, wait for an effect, stop it.
#![allow(dead_code)] // each test binary uses its own part

use std::{
    cell::RefCell,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub mod lab;
pub mod serve;

/// How long an effect may take before a test gives up; generous, since it is polled for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `leaklab serve` with a data folder of its own. Killed when dropped.
pub struct Service {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// The folder it was given as its data folder.
    pub data_dir: tempfile::TempDir,
    log: mpsc::Receiver<String>,
    /// Lines of the start, not yet handed out.
    early: RefCell<Vec<String>>,
}

impl Service {
    /// `leaklab serve --no-limit` on a free port with no simulated work, and `arguments`.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with environment variables.
    #[track_caller]
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), arguments, environment)
    }

    /// The same in a data folder that an earlier one may have left.
    #[track_caller]
    pub fn start_in(data_dir: tempfile::TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = serve::command(data_dir.path());
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(data_dir.path())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let log = lines(child.stdout.take().expect("standard output is piped"));
        let mut early = Vec::new();
        let url = loop {
            let line = log.recv_timeout(PATIENCE).expect("a line that says where it listens");
            let address = serve::address(&line);
            early.push(line);
            if let Some(address) = address {
                break format!("http://{address}");
            }
        };
        Self { child, url, data_dir, log, early: early.into() }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it that signal and waits for its end; returns what it leaves.
    #[track_caller]
    pub fn end_by(mut self, signal: libc::c_int) -> tempfile::TempDir {
        send_signal(self.pid(), signal);
        self.child.wait().expect("it ends");
        std::mem::replace(&mut self.data_dir, tempfile::tempdir().expect("a temporary folder"))
    }

    /// The lines logged since the last call, those of the start included.
    pub fn log(&self) -> Vec<String> {
        self.early.take().into_iter().chain(self.log.try_iter()).collect()
    }

    /// GET: status and body as JSON.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, Value) {
        get(&format!("{}{path}", self.url))
    }

    /// POST with that text as its body and no content type, as plain `curl -d` nearly does.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> (u16, Value) {
        post(&format!("{}{path}", self.url), body)
    }

    /// GET that must be answered with 200.
    #[track_caller]
    pub fn ok(&self, path: &str) -> Value {
        ok(&self.url, path)
    }

    /// Sends `count` requests to `path` over `connections` connections, as fast as they are answered.
    #[track_caller]
    pub fn drive(&self, path: &str, count: usize, connections: usize) {
        let url = format!("{}{path}", self.url);
        thread::scope(|scope| {
            for worker in 0..connections {
                let url = &url;
                let share = count / connections + usize::from(worker < count % connections);
                scope.spawn(move || {
                    let agent = agent();
                    for _ in 0..share {
                        let mut answer = agent.get(url).call().expect("an answer");
                        assert_eq!(answer.status(), 200);
                        answer.body_mut().read_to_vec().expect("the whole body");
                    }
                });
            }
        });
    }

    /// Resident memory as the kernel says it, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("it runs");
        statm.split(' ').nth(1).expect("the second field").parse::<u64>().expect("a number") * 4096
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET: status and body as JSON (a string where it is not JSON).
#[track_caller]
pub fn get(url: &str) -> (u16, Value) {
    read(agent().get(url).call().expect("an answer"))
}

/// GET of a path of the service at `url`, which must be answered with 200.
#[track_caller]
pub fn ok(url: &str, path: &str) -> Value {
    let (status, body) = get(&format!("{url}{path}"));
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// What the service at `url` says at /metrics of that series, its labels included.
#[track_caller]
pub fn metric(url: &str, series: &str) -> f64 {
    let metrics = ok(url, "/metrics");
    let mut lines = metrics.as_str().expect("text").lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no {series}")).parse().expect("a number")
}

/// POST with that text as its body: status and body as JSON.
#[track_caller]
pub fn post(url: &str, body: &str) -> (u16, Value) {
    read(agent().post(url).send(body).expect("an answer"))
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().expect("a readable body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A client that waits no longer than [`PATIENCE`], and for which a status is no error.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

/// Sends a signal to a process that a test has started.
pub fn send_signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill(2) takes plain numbers.
    assert_eq!(unsafe { libc::kill(pid.try_into().expect("a pid"), signal) }, 0, "pid {pid}");
}

/// The lines of a stream as they come.
pub fn lines(stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Polls until `effect` is there; fails with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut effect: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = effect() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
