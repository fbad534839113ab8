//! The example service with the instrument mounted on it, as a process of its own: driven and asked over HTTP.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const EXAMPLE: &str = "crates/leakscope/examples/mount.rs";
const PATIENCE: Duration = Duration::from_secs(60);

/// Cargo builds examples before it runs tests, next to them, or below the target folder where it has a build folder too.
fn binary() -> PathBuf {
    let test = env::current_exe().expect("the test binary has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folders = [profile.to_owned(), target.join(profile.file_name().expect("a profile"))];
    let found = folders.iter().map(|folder| folder.join("examples/mount")).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no examples/mount in {folders:?}: `cargo test -p leakscope` builds it"))
}

/// The line with the comment that marks it, as snapshots name it.
fn growth_site() -> String {
    let source = include_str!("../../examples/mount.rs");
    let marked = source.lines().position(|line| line.ends_with("// the growth site")).expect("a mark");
    format!("{EXAMPLE}:{}", marked + 1)
}

struct Mounted {
    process: Child,
    instrument: String,
    service: String,
}

impl Mounted {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(binary())
            .args(["127.0.0.1:0", "127.0.0.1:0"])
            .arg(folder)
            .env("_RJEM_MALLOC_CONF", "lg_prof_sample:14")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut address = |name: &str| {
            let line = lines.next().expect("a line").expect("text");
            let url = line.strip_prefix(name).expect("where it listens").strip_prefix(": http://");
            url.and_then(|url| url.split_once('/')).expect("an address and a path").0.to_owned()
        };
        let (instrument, service) = (address("instrument"), address("service"));
        Self { process, instrument, service }
    }

    fn order(&self, id: usize) {
        let body = json!({ "id": id.to_string(), "items": ["x".repeat(2_000)] }).to_string();
        let (status, answer) = request(&self.service, "POST", "/orders", "", &body);
        assert_eq!((status, answer.as_str()), (200, "placed"));
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, body) = request(&self.instrument, method, path, "", "");
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    #[track_caller]
    fn ok(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn end_by(&mut self, signal: libc::c_int) {
        // SAFETY: kill(2) takes plain numbers; the process is a child that was not yet waited for.
        assert_eq!(unsafe { libc::kill(self.process.id() as libc::pid_t, signal) }, 0);
        self.process.wait().expect("it ends");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body; `headers` end in a line break.
fn request(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let (head, body) = answer_to(send(address, method, path, headers, body));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body)
}

/// Sends a request, and leaves its answer to be read.
fn send(address: &str, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let host = if headers.starts_with("host:") { String::new() } else { format!("host: {address}\r\n") };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).expect("it reads");
    stream
}

/// Head and body.
fn answer_to(mut stream: TcpStream) -> (String, String) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("a whole answer");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn eventually<T>(what: &str, mut effect: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = effect() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_diff_and_the_stack_lead_to_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::start(folder.path());
    let problems = mounted.ok("/debug")["problems"].to_string();
    assert!(!problems.contains("heap profiling") && !problems.contains("requests"), "{problems}");
    (0..200).for_each(|id| mounted.order(id));
    let (status, set) = mounted.ask("POST", "/debug/memory/baseline");
    assert_eq!((status, &set["status"]), (200, &json!("baseline_set")));
    (200..2_200).for_each(|id| mounted.order(id));

    let diff = mounted.ok("/debug/memory/diff");
    assert_eq!(diff["status"], "compared");
    let top = &diff["growing"][0];
    assert_eq!(top["location"], growth_site(), "{diff:#}");
    // A body of 2,000 bytes each, in the size class of 2,048, and the value's own tables.
    let (grew, error) = (top["bytes_diff"].as_f64().unwrap(), top["bytes_diff_error"].as_f64().unwrap());
    assert!(
        grew + 4.0 * error > 2_000.0 * 2_048.0 && grew - 4.0 * error < 2_000.0 * 2_048.0 * 1.5,
        "{top:#}"
    );

    let by_stack = mounted.ok("/debug/memory/diff?by=stack&limit=1");
    let stack = by_stack["growing"][0]["stack"].as_array().expect("a stack");
    let places: Vec<_> = stack.iter().map(|frame| frame["location"].as_str().unwrap()).collect();
    let line = places.iter().position(|place| *place == growth_site()).expect("on the stack");
    assert!(places[..line].iter().any(|place| place.starts_with("serde_json-")), "the library is further in");
    assert!(places[line + 1].starts_with(EXAMPLE), "and who called is further out: {}", places[line + 1]);
    assert!(!by_stack.to_string().contains("remember"), "a profile names who allocated it, not who keeps it");

    let snapshot = mounted.ok("/debug/memory/snapshot?by=function&limit=1");
    assert!(snapshot["sites"][0]["location"].as_str().unwrap().ends_with("parse"), "{snapshot:#}");
    // A request is over when its answer has been sent, which the client may hear of a little earlier.
    let orders = eventually("2,200 requests", || {
        let requests = mounted.ok("/debug/requests");
        assert_eq!(requests["requests"], 2_200, "as many came in");
        Some(requests["routes"][0].clone()).filter(|orders| orders["requests"] == 2_200)
    });
    assert_eq!(orders["route"], "/orders");
    let kept = orders["retained_bytes_per_request"].as_f64().unwrap();
    assert!((2_048.0..4_096.0).contains(&kept), "{orders:#}");

    let memory = mounted.ok("/debug/memory");
    let parts = memory["parts"].as_array().unwrap().iter().map(|part| part["bytes"].as_i64().unwrap());
    assert_eq!(parts.sum::<i64>(), memory["process"]["rss_bytes"].as_i64().unwrap());
    let trend = eventually("ten samples", || {
        let trend = mounted.ok("/debug/memory/trend?window=10");
        (trend["samples"].as_u64() >= Some(10)).then_some(trend)
    });
    assert!(trend["verdict"].is_string() && trend["series"]["live_heap"].is_object(), "{trend:#}");
}

#[test]
fn other_tools_read_its_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::start(folder.path());
    for path in ["/debug/memory/diff", "/debug/memory/diff", "/debug/pprof/flamegraph?base=baseline"] {
        let (status, none) = mounted.ask("GET", path);
        assert_eq!((status, &none["error"]["code"]), (409, &json!("no_baseline")), "a GET sets none");
        let expected = none["error"]["expected"].as_str().unwrap();
        assert!(expected.contains("POST /debug/memory/baseline"), "{path}: {expected}");
    }
    assert_eq!(mounted.ask("POST", "/debug/memory/baseline").0, 200);
    (0..500).for_each(|id| mounted.order(id));
    let svg = mounted.ok("/debug/pprof/flamegraph?base=baseline");
    assert!(svg.as_str().is_some_and(|svg| svg.contains("serde_json") && svg.contains(&growth_site())));
    let (status, profile) = request(&mounted.instrument, "GET", "/debug/pprof/heap?seconds=1", "", "");
    assert!(status == 200 && profile.starts_with('\u{1f}'), "gzip");
}

#[test]
fn the_next_start_tells_how_the_last_run_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut mounted = Mounted::start(folder.path());
    let (status, none) = mounted.ask("GET", "/debug/post-mortem");
    assert_eq!((status, &none["error"]["code"]), (404, &json!("no_previous_run")));
    mounted.order(1);
    mounted.end_by(libc::SIGTERM);

    let mut mounted = Mounted::start(folder.path());
    let last = mounted.ok("/debug/post-mortem");
    assert_eq!((&last["cause"], &last["at"]["requests"]), (&json!("stopped"), &json!(1)));
    mounted.end_by(libc::SIGKILL);

    let mounted = Mounted::start(folder.path());
    assert_eq!(mounted.ok("/debug/post-mortem")["cause"], "killed");
    assert_eq!(mounted.ok("/debug/post-mortem?n=2")["cause"], "stopped");
    assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
}

#[test]
fn bad_questions_are_told_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::start(folder.path());
    for (method, path, status, code, expected) in [
        ("GET", "/", 404, "unknown_route", "GET /debug/memory"),
        ("GET", "/debug/memory/diff?by=colour", 400, "bad_query", "by=stack"),
        ("GET", "/debug/memory/diff?keep=true", 400, "bad_query", "by=stack"),
        ("GET", "/debug/memory/snapshot?limit=-1", 400, "bad_query", "limit=20"),
        ("GET", "/debug/memory/trend?window=9", 400, "bad_query", "from 10 to 1800"),
        ("GET", "/debug/post-mortem?n=0", 400, "bad_query", "n=1"),
        ("GET", "/debug/post-mortem?n=7", 404, "no_previous_run", "same folder"),
        ("GET", "/debug/pprof/heap?seconds=301", 400, "bad_query", "seconds=300"),
        ("GET", "/debug/pprof/flamegraph?base=birth", 400, "bad_query", "base=baseline"),
        ("GET", "/debug/memory/baseline", 405, "method_not_allowed", "POST"),
        ("DELETE", "/debug/memory", 405, "method_not_allowed", "GET"),
    ] {
        let (got, answer) = mounted.ask(method, path);
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
        assert!(answer["error"]["expected"].as_str().unwrap().contains(expected), "{path}: {answer}");
    }
    // Each listed route is there.
    for route in mounted.ok("/debug")["routes"].as_array().unwrap() {
        let (status, answer) =
            mounted.ask(route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
        assert!(status == 200 || route["path"] == "/debug/post-mortem", "{route}: {answer}");
    }
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::start(folder.path());
    for path in ["/debug/memory", "/debug/pprof/heap", "/nothing"] {
        for (header, code) in [
            ("host: evil.example\r\n", "host_not_allowed"),
            ("origin: https://evil.example\r\n", "cross_site"),
            ("sec-fetch-site: cross-site\r\n", "cross_site"),
            ("sec-fetch-site: same-site\r\nsec-fetch-mode: cors\r\n", "cross_site"),
            ("x-forwarded-for: 192.0.2.1\r\n", "forwarded"),
            ("via: 1.1 proxy\r\n", "forwarded"),
        ] {
            let (status, body) = request(&mounted.instrument, "GET", path, header, "");
            assert!(status == 403 && body.contains(code), "{path} {header}: {status} {body}");
        }
    }
    for header in ["host: 10.0.0.1:9100\r\n", "sec-fetch-site: same-site\r\nsec-fetch-mode: navigate\r\n"] {
        let (status, body) = request(&mounted.instrument, "GET", "/debug/memory", header, "");
        assert_eq!(status, 200, "{header}: {body}");
    }
}

#[test]
fn requests_that_wait_are_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::start(folder.path());
    let wait =
        |seconds| send(&mounted.instrument, "GET", &format!("/debug/pprof/heap?seconds={seconds}"), "", "");
    let mut waiting: Vec<_> = (0..5).map(|_| wait(300)).collect();
    let is_answered = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let answered = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        answered
    };
    let refused = eventually("one too many is refused", || waiting.iter().position(is_answered));
    let (head, body) = answer_to(waiting.swap_remove(refused));
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: 300"), "{head}");
    assert!(body.contains("\"busy\""), "{body}");
    assert!(!waiting.iter().any(is_answered), "four may wait");
    let (status, _) = request(&mounted.instrument, "GET", "/debug/pprof/heap", "", "");
    assert_eq!(status, 200, "one that does not wait needs no place");
    drop(waiting);
    eventually("those who went away have left their places", || {
        answer_to(wait(1)).0.starts_with("HTTP/1.1 200").then_some(())
    });
}

#[test]
fn what_is_recorded_is_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("made/by/the/recorder");
    drop(Mounted::start(&folder));
    drop(Mounted::start(&folder)); // judges the first one, and writes that down
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["journal", "samples", "lock", "post-mortems.json"] {
        assert!(files.contains(&folder.join(name)), "no {name} in {files:?}");
    }
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
