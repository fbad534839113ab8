//! Nothing but the leaks may leak: with every leak off, a long run at full speed leaves the memory where it was, with profiling,
//! metrics and trace export on; an idle service is small; and a reading of memory does not show the reading.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::otlp::{Collector, Manner};
use crate::support::{Service, eventually};

const MIB: i64 = 1 << 20;

/// Live heap and RSS.
fn memory(service: &Service) -> (i64, i64) {
    let parts = service.ok("/admin/memory")["parts"].clone();
    let live_heap = parts.as_array().expect("a list").iter().find(|part| part["part"] == "live_heap");
    let live_heap = live_heap.expect("that part")["size_bytes"].as_i64().expect("bytes");
    (live_heap, service.rss_bytes() as i64)
}

#[track_caller]
fn assert_unmoved(service: &Service, (live_before, rss_before): (i64, i64), when: &str) {
    let (live, rss) = memory(service);
    assert!((live - live_before).abs() < MIB, "{when}: the live heap moved from {live_before} to {live}");
    assert!((rss - rss_before).abs() < 4 * MIB, "{when}: RSS moved from {rss_before} to {rss}");
}

fn soak(requests: usize) {
    let collector = Collector::start(Manner::Counts);
    let service = Service::start_with(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())]);
    service.drive("/api/data", requests / 10, 8);
    // Reading memory starts profiles in the background: the first is part of the warm-up too.
    eventually("a profile", || {
        (service.ok("/admin/memory")["heap_profile"]["status"] == "ready").then_some(())
    });
    let before = memory(&service);

    service.drive("/api/data", requests, 8);

    assert_unmoved(&service, before, "right after the last request");
    let pause = Instant::now() + Duration::from_secs(5);
    while Instant::now() < pause {
        thread::sleep(Duration::from_millis(500));
        assert_unmoved(&service, before, "in the pause afterwards");
    }
    assert!(collector.count() > 0, "spans were exported meanwhile");
}

#[test]
fn without_leaks_nothing_grows() {
    soak(20_000);
}

#[test]
#[ignore = "200,000 requests: run by the gate"]
fn without_leaks_nothing_grows_in_200_000_requests() {
    soak(200_000);
}

#[test]
fn an_idle_service_is_small() {
    let service = Service::start(&[]);
    let rss = service.rss_bytes() as i64;
    assert!(rss <= 16 * MIB, "{rss} bytes");
}

/// Docker lets a container lock 8 MiB unless told otherwise. The service locks its code; what does not fit is read again and
/// again near the memory limit, and the service hangs where it should be killed.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "of the release build: run by the gate"]
fn the_code_fits_into_what_docker_lets_a_container_lock() {
    let service = Service::start(&[]);
    let process = leakscope::proc::Process::of(service.pid()).expect("it runs");
    let program = std::fs::read_link(format!("/proc/{}/exe", service.pid())).expect("it runs");
    let mappings = process.code_mappings().expect("Linux tells them");
    let code = mappings.iter().filter(|mapping| mapping.path == program);
    let bytes: u64 = code.map(|mapping| mapping.end - mapping.start).sum();
    assert!(bytes > 1 << 20, "{mappings:?}");
    assert!(bytes <= 8 << 20, "{bytes} bytes of code");
}

#[test]
fn readings_of_memory_do_not_show_the_reading() {
    let service = Service::start(&[]);
    let rss = || service.ok("/admin/memory")["process"]["rss_bytes"].as_i64().expect("bytes");
    let cold = rss();
    // The first reading has started a profile behind its back: the next ones fall into it.
    eventually("a profile", || {
        let memory = service.ok("/admin/memory");
        let moved = memory["process"]["rss_bytes"].as_i64().expect("bytes") - cold;
        let status = memory["heap_profile"]["status"].as_str().expect("a status").to_owned();
        assert!(moved < 2 * MIB, "RSS moved by {moved} while the profile is {status}");
        (status == "ready").then_some(())
    });
    service.drive("/api/data", 100, 1);
    let moved = rss() - cold;
    assert!(moved < 2 * MIB, "RSS moved by {moved}");
}
