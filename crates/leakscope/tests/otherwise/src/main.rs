//! Leaks at one line, and prints what the instrument says of it, as JSON: `problems`, `unwinder`, and `location`, `line`,
//! `bytes` of what grew most, or the `error`.

use leakscope::{
    Leakscope,
    heap::{By, growing},
    jemalloc::Profiler,
    request,
};
use serde_json::json;

leakscope::jemalloc!("lg_prof_sample:14");

const COUNT: usize = 4_000;

#[inline(never)]
fn leak(kept: &mut Vec<Vec<u8>>) -> u32 {
    kept.push(vec![1; 4_096]);
    line!() - 1
}

fn main() {
    let instrument = Leakscope::builder().on_problem(|_| {}).start();
    let profiler = Profiler::start();
    let mut kept = Vec::with_capacity(COUNT);
    let base = profiler.snapshot();
    let mut line = 0;
    (0..COUNT).for_each(|_| line = leak(&mut kept));
    let now = profiler.snapshot();
    let top = match (base, now) {
        (Ok(base), Ok(now)) => match growing(&base, &now, By::Line, 1).first() {
            Some(top) => json!({ "location": top.site.location, "bytes": top.bytes_diff }),
            None => json!({ "error": "nothing grew" }),
        },
        (Err(error), _) | (_, Err(error)) => json!({ "error": error.to_string() }),
    };
    let said = json!({
        "problems": instrument.problems(),
        "unwinder": profiler.status().unwinder,
        "requests_are_measured": request::available().is_ok(),
        "top": top,
        "leaked": { "location": format!("{}:{line}", file!()), "bytes": kept.len() * 4_096 },
    });
    println!("{said}");
}
