//! The lab without Docker: a real limit, real kills, nothing left behind.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use crate::support::{PATIENCE, eventually, lines};

const LIMIT_BYTES: u64 = 64 << 20;
/// An account that may make no cgroup: `nobody`.
const NOBODY: u32 = 65_534;

/// A running `leaklab lab` with what it says. Killed when dropped, if it was not stopped.
struct Lab {
    process: Child,
    url: String,
    said: mpsc::Receiver<String>,
    _data_dir: Option<tempfile::TempDir>,
}

/// `leaklab lab` on a free port with a small limit and no simulated work.
fn lab(data_dir: &std::path::Path) -> Command {
    let mut command = crate::support::serve::leaklab();
    command
        .args(["lab", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .arg("--limit")
        .arg(LIMIT_BYTES.to_string())
        .arg("--data-dir")
        .arg(data_dir)
        .env("LEAKLAB_WORK_MS", "0")
        .stdout(Stdio::null());
    command
}

impl Lab {
    /// Starts it with more arguments, and waits until it is ready.
    #[track_caller]
    fn start(arguments: &[&str]) -> Self {
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        let mut lab = Self::spawn(lab(data_dir.path()).args(arguments));
        lab._data_dir = Some(data_dir);
        lab.ready();
        lab
    }

    /// Starts it; it is not ready yet.
    #[track_caller]
    fn spawn(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let said = lines(process.stderr.take().expect("standard error is piped"));
        Self { process, url: String::new(), said, _data_dir: None }
    }

    /// Waits until it is ready for the first time.
    #[track_caller]
    fn ready(&mut self) {
        let ready = self.says("ready after");
        self.url = ready.split(" at ").nth(1).expect("the line ends with the URL").to_owned();
    }

    /// Its next line.
    #[track_caller]
    fn next(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("one more line")
    }

    /// The next line that contains `text`; those before it are passed over.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("{error}: it never said {text:?}, but: {before:#?}"),
            }
        }
    }

    /// The service's process.
    #[track_caller]
    fn child(&self) -> u32 {
        let pid = self.process.id();
        eventually("the lab has a child", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    fn signal(&self, signal: libc::c_int) {
        kill(self.process.id(), signal);
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        eventually("the lab ends", || self.process.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kill(pid: u32, signal: libc::c_int) {
    // SAFETY: kill(2) takes plain numbers.
    unsafe { libc::kill(pid.try_into().expect("a pid"), signal) };
}

/// Runs, or a zombie that nobody has waited for.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// The cgroup that a lab makes for its service, found by its name.
fn cgroup(lab_pid: u32) -> Option<PathBuf> {
    fn find(dir: PathBuf, name: &str) -> Option<PathBuf> {
        fs::read_dir(dir)
            .ok()?
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .find_map(
                |entry| if entry.file_name() == name { Some(entry.path()) } else { find(entry.path(), name) },
            )
    }
    find("/sys/fs/cgroup".into(), &format!("leaklab-{lab_pid}"))
}

/// Says what is not tested here, past the test harness, which would keep it to itself.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}");
}

/// Whether this machine lets us make cgroups; says so where it does not, since then less is tested.
fn cgroups_are_possible(test: &str) -> bool {
    let lab = Lab::start(&[]);
    let possible = cgroup(lab.process.id()).is_some();
    if !possible {
        skipped(&format!("{test}: no cgroup can be made here; run it as root or in a delegated subtree"));
    }
    possible
}

/// `leaklab load` as fast as it goes, while the service is killed under it; its report.
#[track_caller]
fn load_through_the_kill(url: &str) -> thread::JoinHandle<serde_json::Value> {
    let url = format!("{url}/api/data");
    thread::spawn(move || {
        let output = crate::support::serve::leaklab()
            .args(["load", "--url", &url, "--rate", "1000", "--requests", "3000", "--json"])
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("a report")
    })
}

/// Seconds in "ready again after 0.31 s at http://...".
fn seconds_to_ready(line: &str) -> f64 {
    let after = line.split("after ").nth(1).and_then(|rest| rest.split(' ').next());
    after.and_then(|seconds| seconds.parse().ok()).expect("a number of seconds")
}

/// From the first request to the kill, the restart and the report: the same for both who can kill.
#[track_caller]
fn dies_at_the_limit_and_comes_back(lab: &Lab, evidence: &str) {
    let load = load_through_the_kill(&lab.url);
    let killed = lab.says("killed by the memory limit");
    assert!(killed.contains("of 64.00 MiB ("), "{killed}");
    let requests =
        killed.split("after ").nth(1).and_then(|rest| rest.split(' ').next()).map(|n| n.replace(',', ""));
    assert!(requests.expect("a number").parse::<u64>().expect("a number") > 0, "{killed}");
    lab.says(evidence);
    let growing = lab.says("grown most: ");
    assert!(growing.contains("src/leaks/cache/"), "{growing}");
    let again = lab.says("ready again after");
    assert!(seconds_to_ready(&again) < 2.0, "{again}");

    let report = load.join().expect("the load survives");
    assert!(report["errors"].as_u64() > Some(0), "the kill was seen: {report}");
    assert!(report["requests"].as_u64() > report["errors"].as_u64(), "most were answered: {report}");
    assert_eq!(report["memory"]["restarted"], true, "{report}");
}

#[test]
fn the_kernel_kills_at_the_limit_and_the_service_comes_back() {
    if !cgroups_are_possible("the_kernel_kills_at_the_limit_and_the_service_comes_back") {
        return;
    }
    let mut lab = Lab::start(&["--leaks", "cache", "--enforce", "cgroup"]);
    dies_at_the_limit_and_comes_back(&lab, "certain: the cgroup's kill counter moved from 0 to 1");
    lab.signal(libc::SIGTERM);
    assert!(lab.wait().success());
    assert_eq!(cgroup(lab.process.id()), None, "it removes its cgroup");
}

#[test]
fn an_ordinary_user_has_a_watcher_that_kills_at_the_limit() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = lab(data_dir.path());
    // SAFETY: geteuid(2) only reads.
    if unsafe { libc::geteuid() } == 0 {
        // The build's own folder may be closed to others.
        let program = data_dir.path().join("leaklab");
        fs::copy(crate::support::serve::binary(), &program).expect("the binary can be copied");
        fs::set_permissions(data_dir.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        chown(data_dir.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(program);
        command.args(arguments).env("LEAKLAB_WORK_MS", "0").current_dir("/").uid(NOBODY).gid(NOBODY);
    }
    let mut lab = Lab::spawn(command.args(["--leaks", "cache"]).stdout(Stdio::null()));
    let announced = lab.next();
    if announced.contains("held by the kernel") {
        skipped("an_ordinary_user_has_a_watcher: this user may make cgroups here");
        return;
    }
    assert!(announced.contains("held by a watcher"), "{announced}");
    let reason = lab.next();
    assert!(reason.contains("not by the kernel: "), "{reason}");
    lab.ready();
    let (_, memory) = crate::support::get(&format!("{}/admin/memory", lab.url));
    assert_eq!(memory["limit"], serde_json::json!({"bytes": LIMIT_BYTES, "source": "watcher"}));
    dies_at_the_limit_and_comes_back(&lab, "certain: the watcher sent SIGKILL");
}

#[test]
fn a_service_that_dies_again_and_again_is_started_later_and_later() {
    let lab = Lab::start(&[]);
    for delay in [None, Some("0.5 s"), Some("1 s")] {
        kill(lab.child(), libc::SIGKILL);
        lab.says("killed by somebody else");
        if let Some(delay) = delay {
            let announced = lab.says("it died young");
            assert!(announced.ends_with(delay), "{announced}");
        }
        let again = seconds_to_ready(&lab.says("ready again after"));
        let least = delay.map_or(0.0, |text| text.trim_end_matches(" s").parse().expect("a number"));
        assert!((least..least + 2.0).contains(&again), "{again} after a wait of {least}");
    }
    kill(lab.child(), libc::SIGABRT);
    lab.says("crashed (SIGABRT)");
}

#[test]
fn a_killed_lab_leaves_no_child_and_its_cgroup_is_swept_by_the_next() {
    let mut lab = Lab::start(&[]);
    let child = lab.child();
    let left = cgroup(lab.process.id());
    // A process that is still in there is one of ours, since nobody else would enter.
    let stray = left.as_ref().map(|left| {
        let stray = Command::new("sleep").arg("600").spawn().expect("sleep is there");
        fs::write(left.join("cgroup.procs"), stray.id().to_string()).expect("it may enter");
        stray
    });
    lab.signal(libc::SIGKILL);
    lab.wait();
    eventually("the service is gone", || (!runs(child)).then_some(()));

    let (Some(left), Some(mut stray)) = (left, stray) else {
        skipped("the sweep of cgroups: none can be made here");
        return;
    };
    let _next = Lab::start(&[]);
    assert!(!left.exists(), "it was swept");
    eventually("the stray was killed", || stray.try_wait().expect("a child can be asked"));
}

#[test]
fn a_supervised_service_ends_when_its_lifeline_closes() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let mut service = crate::support::serve::leaklab()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
        .arg(data_dir.path())
        .env("LEAKLAB_SUPERVISED", "cgroup")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let log = lines(service.stdout.take().expect("standard output is piped"));
    while crate::support::serve::address(
        &log.recv_timeout(PATIENCE).expect("a line that says where it listens"),
    )
    .is_none()
    {}
    assert!(service.try_wait().expect("a child can be asked").is_none(), "it serves");
    drop(service.stdin.take());
    eventually("it ends with its parent's pipe", || service.try_wait().expect("a child can be asked"));
}

#[test]
fn sigterm_lets_the_service_answer_what_it_has_begun() {
    let mut lab = Lab::start(&["--work-ms", "1500"]);
    let child = lab.child();
    let address = lab.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection
        .write_all(b"GET /api/data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("sent");
    // Connections are taken in their order: what is answered on a later one proves that this one is worked on.
    assert_eq!(crate::support::get(&format!("{}/livez", lab.url)).0, 200);
    lab.signal(libc::SIGTERM);
    lab.says("stopped");
    assert!(lab.wait().success());
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!runs(child));
    assert_eq!(cgroup(lab.process.id()), None);
}

/// Runs to its end: exit code and standard error.
#[track_caller]
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let mut process =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let status = eventually("it refuses", || process.try_wait().expect("a child can be asked"));
    let mut said = String::new();
    process.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    (status.code(), said)
}

#[test]
fn a_data_folder_has_one_service_at_a_time() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let mut first = Lab::spawn(&mut lab(data_dir.path()));
    first.ready();
    let mut serve = crate::support::serve::leaklab();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir.path());
    for second in [&mut lab(data_dir.path()), &mut serve] {
        let (code, said) = refused(second);
        assert_eq!(code, Some(75), "{said}");
        for part in
            [&format!("(pid {})", first.process.id()), &*data_dir.path().to_string_lossy(), "--data-dir"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn a_data_folder_that_can_t_be_written_is_said_once_and_does_not_stop_the_service() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut lab = Lab::spawn(&mut lab(&file.path().join("below-a-file")));
    lab.says("can't be written");
    lab.ready();
    assert_eq!(crate::support::get(&format!("{}/readyz", lab.url)).0, 200);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for command in ["lab", "serve"] {
        let (code, said) = refused(
            crate::support::serve::leaklab()
                .args([command, "--listen", &address, "--data-dir"])
                .arg(data_dir.path()),
        );
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_stop_the_lab() {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut lab = Lab::spawn(lab(data_dir.path()).stdout(writer));
    drop(reader);
    lab.ready();
    lab.signal(libc::SIGINT);
    lab.says("stopped");
    assert!(lab.wait().success());
}
