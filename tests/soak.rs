//! Nothing but the leaks may leak: with every leak off, a long run at full speed leaves the memory where it was, with profiling,
//! metrics and trace export on.

mod support;

use support::Service;

const MIB: i64 = 1 << 20;

fn memory(service: &Service) -> (i64, i64) {
    let memory = service.ok("/admin/memory");
    let live = memory["jemalloc"]["allocated_bytes"].as_i64().expect("the live heap");
    (live, service.rss_bytes() as i64)
}
