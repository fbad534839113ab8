//! Profiles that other tools read, from the running binary: pprof's format, flame graphs, whole stacks, and two saved
//! profiles compared. What pprof itself makes of them is seen by `.ci/pprof`.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Service, agent};
use flate2::read::GzDecoder;

const GROWTH_SITE: &str = "src/leaks/cache/leaky.rs";
const ENTRY_BYTES: usize = 24 * 1024;

/// A service that leaks through its cache, sampled finely.
fn leaking() -> Service {
    let service = Service::start_with(&[], &[("_RJEM_MALLOC_CONF", "lg_prof_sample:14")]);
    let (status, answer) = service.post("/admin/leaks/cache", r#"{"enabled":true}"#);
    assert_eq!(status, 200, "{answer}");
    service
}

fn save(service: &Service, path: &str, name: &str) -> PathBuf {
    let file = service.data_dir.path().join(name);
    fs::write(&file, fetch(&format!("{}{path}", service.url))).expect("it can be saved");
    file
}

fn fetch(url: &str) -> Vec<u8> {
    let mut answer = agent().get(url).call().expect("an answer");
    assert_eq!(answer.status(), 200, "{url}");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    answer.body_mut().read_to_vec().expect("the profile")
}

fn diff(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (Option<i32>, String) {
    let output =
        crate::support::serve::leaklab().arg("diff").args(arguments.iter().map(|a| a.as_ref())).output();
    let output = output.expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn two_saved_profiles_name_the_line_that_grew() {
    let service = leaking();
    service.drive("/api/data", 200, 2);
    let base = save(&service, "/debug/pprof/heap", "a.pb.gz");
    let requests = 1_000;
    service.drive("/api/data", requests, 4);
    let now = save(&service, "/debug/pprof/heap", "b.pb.gz");

    let (code, text) = diff(&[&base, &now]);
    assert_eq!(code, Some(0), "{text}");
    let top = text.lines().nth(2).expect("a place");
    assert!(top.contains(GROWTH_SITE), "{text}");
    let grew: f64 =
        top.split_whitespace().next().and_then(|grew| grew.parse().ok()).expect("a figure in MiB");
    let truth = (requests * ENTRY_BYTES) as f64 / f64::from(1 << 20);
    assert!((grew / truth - 1.0).abs() < 0.2, "{grew} MiB of {truth} MiB: {text}");

    let (_, text) = diff(&[&base, &now, &"--by", &"stack", &"--limit", &"1"]);
    assert!(text.contains("workload"), "the stack goes on to the handler: {text}");
    let (_, text) = diff(&[&now, &base]);
    assert!(text.contains("nothing grew"), "{text}");
}

#[test]
fn a_file_that_is_no_profile_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("heap.txt");
    fs::write(&text, "hello").expect("it can be written");
    for (path, says) in
        [(text.as_path(), "not a profile of leakscope's"), (Path::new("/no/such.pb.gz"), "No such file")]
    {
        let (code, said) = diff(&[&path, &path]);
        assert_eq!(code, Some(65), "{said}");
        assert!(said.contains(says) && said.contains(&*path.to_string_lossy()), "{said}");
    }
}

/// `?seconds=` profiles what grows meanwhile.
#[test]
fn growth_over_a_time_shows_what_grew_in_it() {
    let service = leaking();
    let started = Instant::now();
    let url = format!("{}/debug/pprof/heap?seconds=2", service.url);
    let waiting = thread::spawn(move || fetch(&url));
    while !waiting.is_finished() {
        service.drive("/api/data", 20, 1);
    }
    let growth = waiting.join().expect("a profile");
    assert!(started.elapsed() >= Duration::from_secs(2));
    let mut profile = Vec::new();
    GzDecoder::new(growth.as_slice()).read_to_end(&mut profile).expect("gzip");
    let contains = |text: &str| profile.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains(GROWTH_SITE) && contains("keep_response_buffer"));
    let file = service.data_dir.path().join("growth.pb.gz");
    fs::write(&file, &growth).expect("it can be saved");
    let (code, text) = diff(&[&file, &file]);
    assert!(code == Some(65) && text.contains("a profile of growth"), "{text}");
}

#[test]
fn a_stopping_service_does_not_wait_for_a_profile_of_growth() {
    let service = leaking();
    let address = service.url.strip_prefix("http://").expect("an address");
    let mut waiting = TcpStream::connect(address).expect("it listens");
    write!(waiting, "GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("it reads");
    service.ok("/admin/memory/snapshot"); // comes after it, and takes longer than reading a request
    // SAFETY: kill(2) takes no pointers; the process is a child that was not yet waited for.
    unsafe { libc::kill(service.pid() as libc::pid_t, libc::SIGTERM) };
    waiting.set_read_timeout(Some(crate::support::PATIENCE)).expect("not zero");
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).expect("an answer, and the connection's end");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
}

#[test]
fn flame_graphs_show_the_growth_site_at_the_tip() {
    let service = leaking();
    let (status, answer) = service.get("/debug/pprof/flamegraph?base=baseline");
    assert_eq!((status, &answer["error"]["code"]), (409, &"no_baseline".into()), "{answer}");
    service.post("/admin/memory/baseline", "");
    service.drive("/api/data", 500, 2);
    for path in ["/debug/pprof/flamegraph", "/debug/pprof/flamegraph?base=baseline"] {
        let mut answer = agent().get(format!("{}{path}", service.url)).call().expect("an answer");
        assert_eq!(answer.headers()["content-type"], "image/svg+xml");
        let svg = answer.body_mut().read_to_string().expect("text");
        assert!(svg.trim_end().ends_with("</svg>"), "{path}: it is whole");
        assert!(svg.contains("keep_response_buffer") && svg.contains(GROWTH_SITE), "{path}");
        assert_eq!(svg.contains("since the baseline"), path.ends_with("baseline"));
    }
}

#[test]
fn places_by_stack_show_the_way_to_the_line() {
    let service = leaking();
    service.post("/admin/memory/baseline", "");
    service.drive("/api/data", 500, 2);
    let diff = service.ok("/admin/memory/diff?keep=true&by=stack");
    let snapshot = service.ok("/admin/memory/snapshot?by=stack&limit=3");
    assert!(snapshot["by_line"].is_null() && snapshot["by_stack"].as_array().expect("a list").len() <= 3);
    for top in [&diff["growing_allocations"][0], &snapshot["by_stack"][0]] {
        assert!(top["location"].as_str().expect("text").starts_with(GROWTH_SITE), "{top:#}");
        let stack = top["stack"].as_array().expect("a stack");
        let at = |part: &str| {
            stack.iter().position(|frame| frame["function"].as_str().expect("text").contains(part))
        };
        let (site, handler) = (at("keep_response_buffer"), at("workload"));
        assert!(site.is_some() && handler > site, "innermost first: {top:#}");
        let main = stack.last().expect("frames")["function"].as_str().expect("text");
        assert!(["start", "clone", "main", "libc"].iter().any(|end| main.contains(end)), "whole: {main}");
    }
    assert!(service.ok("/admin/memory/snapshot")["by_stack"].is_null(), "only when asked for");
}
