//! Each server as a process of its own: leaklab's binary, or this one again in another role.

use std::{
    cell::{Cell, RefCell},
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::{
    CONNECTIONS, client,
    otlp::{Collector, Manner},
    serve,
};

/// This binary's role as the bare server.
pub const BARE: &str = "serve-bare";

/// This binary's role as the bare server with request accounting.
pub const ACCOUNTED: &str = "serve-accounted";

/// This binary's role as the collector.
pub const COLLECTOR: &str = "collect";

/// A running server. Killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    stdin: ChildStdin,
    stdout: RefCell<BufReader<ChildStdout>>,
    answered: Cell<u64>,
    _data_dir: Option<tempfile::TempDir>,
}

impl Server {
    /// jemalloc without its profiler, as any service may have it.
    pub fn bare() -> Self {
        Self::bare_in_role(BARE)
    }

    /// The same with request accounting mounted, and nothing else.
    pub fn accounted() -> Self {
        Self::bare_in_role(ACCOUNTED)
    }

    fn bare_in_role(role: &str) -> Self {
        let mut command = this_binary(role);
        command.env("_RJEM_MALLOC_CONF", "prof:false");
        Self::spawn(command, None, |line| line.trim().parse().ok())
    }

    pub fn collector() -> Self {
        Self::spawn(this_binary(COLLECTOR), None, |line| line.trim().parse().ok())
    }

    /// `leaklab serve` as shipped, with these environment variables.
    pub fn leaklab(environment: &[(&str, &str)]) -> Self {
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = serve::command(data_dir.path());
        command.envs(environment.iter().copied());
        Self::spawn(command, Some(data_dir), serve::address)
    }

    fn spawn(
        mut command: Command,
        data_dir: Option<tempfile::TempDir>,
        address: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            let read = stdout.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended before it listened");
            if let Some(address) = address(&line) {
                break address;
            }
        };
        Self { address, child, stdin, stdout: stdout.into(), answered: Cell::new(0), _data_dir: data_dir }
    }

    /// One round; returns requests per second.
    pub fn drive(&self, round: Duration) -> f64 {
        let (answers, took) = client::drive(self.address, CONNECTIONS, round);
        self.answered.set(self.answered.get() + answers);
        answers as f64 / took.as_secs_f64()
    }

    /// Requests answered in all rounds.
    pub fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// Spans received so far; asks the collector's process.
    pub fn received(&self) -> u64 {
        (&self.stdin).write_all(b"\n").expect("the collector reads");
        let mut line = String::new();
        self.stdout.borrow_mut().read_line(&mut line).expect("text");
        line.trim().parse().expect("a number")
    }

    /// Spans dropped so far; asks leaklab.
    pub fn dropped(&self) -> u64 {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix("trace_spans_dropped_total "));
        value.expect("the counter is there").trim().parse().expect("a whole number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this_binary(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary has a path"));
    command.arg(role);
    command
}

/// The collector's process: says where it listens, and for each line on standard input how many spans it has received.
pub fn collect() {
    let collector = Collector::start(Manner::Counts);
    println!("{}", collector.address);
    for _ in std::io::stdin().lines() {
        println!("{}", collector.count());
    }
}
