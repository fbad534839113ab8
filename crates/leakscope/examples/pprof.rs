//! Writes a heap profile for `go tool pprof`: `cargo run -p leakscope --example pprof -- heap.pb.gz`.

use std::collections::HashMap;

leakscope::jemalloc!();

fn remember(cache: &mut HashMap<u32, serde_json::Value>, id: u32) {
    cache.insert(id, serde_json::json!({ "id": id, "body": "x".repeat(8 << 10) }));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "heap.pb.gz".to_owned());
    let profiler = leakscope::jemalloc::Profiler::start();
    let mut cache = HashMap::new();
    (0..2_000).for_each(|id| remember(&mut cache, id));
    std::fs::write(&path, profiler.snapshot()?.to_pprof())?;
    println!("{} entries; now: go tool pprof -top {path}", cache.len());
    Ok(())
}
