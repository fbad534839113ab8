//! `leaklab load` against the real service, and against servers that behave badly on purpose.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use crate::support::{Service, eventually};
use serde_json::Value;

fn load(url: &str, arguments: &[&str]) -> Command {
    let mut command = crate::support::serve::leaklab();
    command
        .args(["load", "--json", "--url", url])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

/// A server on a free port that answers each request by `answer`, connection after connection, on one thread.
fn server(answer: impl Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut served = 0;
        for mut stream in listener.incoming().flatten() {
            let requests = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            for line in requests.map_while(Result::ok) {
                // The load's own reading of /metrics is none of the requests.
                if line.starts_with("GET / ") {
                    let done = answer(served, &mut stream);
                    served += 1;
                    if done.is_err() {
                        break;
                    }
                } else if line.starts_with("GET /metrics") {
                    let _ = stream.write_all(
                        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                    );
                    break;
                }
            }
        }
    });
    url
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn the_rate_is_kept_and_the_leak_is_measured_per_request() {
    let service = Service::start(&["--leaks", "cache"]);
    let url = format!("{}/api/data", service.url);
    let output = load(&url, &["--rate", "400", "--requests", "800"]).output().expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    let report = report(&output);
    assert_eq!((report["requests"].as_u64(), report["errors"].as_u64()), (Some(800), Some(0)), "{report}");
    // The last of 800 requests is due 799 periods of 2.5 ms after the first.
    assert!(report["seconds"].as_f64() >= Some(799.0 * 0.0025), "{report}");
    assert_eq!(service.ok("/admin/leaks/status")["leaks"]["cache"]["entries"], 800);

    let memory = &report["memory"];
    assert_eq!(memory["restarted"], false, "{report}");
    let per_request = memory["rss_bytes_per_request"].as_f64().expect("a leaklab service says it");
    // 24 KiB each, and what the service takes for its first connections beside.
    assert!((20_000.0..60_000.0).contains(&per_request), "{report}");
}

#[test]
fn what_waits_for_a_stalled_service_counts_its_wait() {
    let stall = Duration::from_millis(500);
    let url = server(move |number, stream| {
        if number == 0 {
            thread::sleep(stall);
        }
        stream.write_all(OK)
    });
    let arguments = ["--rate", "100", "--requests", "30", "--concurrency", "1"];
    let report = report(&load(&url, &arguments).output().expect("the binary starts"));
    assert_eq!((report["requests"].as_u64(), report["errors"].as_u64()), (Some(30), Some(0)), "{report}");
    // Request n is due at 10n ms and can't leave before 500 ms: it waits at least 500 - 10n ms, the middle ones at least 340.
    // Measured from when they left, they would all be near 0.
    assert!(report["latency_ms"]["p50"].as_f64() > Some(300.0), "{report}");
    assert_eq!(report["late"], 29, "{report}");
    assert_eq!(report["memory"], Value::Null, "it is no leaklab service");
}

#[test]
fn what_never_left_is_said() {
    let url = server(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        stream.write_all(OK)
    });
    let arguments = ["--rate", "100", "--duration", "1s", "--concurrency", "1"];
    let report = report(&load(&url, &arguments).output().expect("the binary starts"));
    let (sent, unsent) = (report["requests"].as_u64().expect("a count"), report["unsent"].as_u64());
    assert!((1..=4).contains(&sent), "one at a time, 300 ms each, within a second: {report}");
    assert_eq!(unsent, Some(100 - sent), "{report}");
}

#[test]
fn errors_are_counted_by_kind_and_survived() {
    let url = server(|number, stream| match number % 3 {
        0 => stream.write_all(OK),
        1 => stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        _ => Err(std::io::ErrorKind::Other.into()),
    });
    let arguments = ["--rate", "max", "--requests", "30", "--concurrency", "1"];
    let output = load(&url, &arguments).output().expect("the binary starts");
    assert!(output.status.success());
    let report = report(&output);
    let kinds = serde_json::json!({"connection reset": 10, "status 503": 10});
    assert_eq!(report["errors_by_kind"], kinds, "{report}");
}

#[test]
fn a_redirect_is_not_followed() {
    let url = server(|_, stream| {
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n")
    });
    let output = load(&url, &["--requests", "1"]).output().expect("the binary starts");
    assert_eq!(report(&output)["errors_by_kind"], serde_json::json!({"status 302": 1}));
}

#[test]
fn ctrl_c_prints_the_report_so_far() {
    let service = Service::start(&[]);
    let url = format!("{}/api/data", service.url);
    let process = load(&url, &["--rate", "100", "--duration", "10m"]).spawn().expect("the binary starts");
    eventually("some requests are answered", || {
        let (_, metrics) = crate::support::get(&format!("{}/metrics", service.url));
        let metrics = metrics.as_str()?;
        (leaklab::vitals::Vitals::parse(metrics).api_requests >= 20).then_some(())
    });
    // SAFETY: kill(2) takes plain numbers.
    unsafe { libc::kill(process.id().try_into().expect("a pid"), libc::SIGINT) };
    let output = process.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(report(&output)["requests"].as_u64() >= Some(20));
}

#[test]
fn nobody_there_is_an_error_of_its_own() {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let output = load(&format!("http://{free}/"), &["--requests", "3"]).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert_eq!(report["errors_by_kind"], serde_json::json!({"connection refused": 3}));
    assert_eq!(report["latency_ms"], Value::Null);
}
