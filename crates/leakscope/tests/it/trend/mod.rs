//! The trend is judged by families of generated series whose truth is known, and by a recorded one.
//!
//! In full: `cargo test --release -p leakscope --test it trend:: -- --ignored --nocapture`. `TREND_SEED` repeats a run.

mod families;
mod generator;
mod judge;
mod recorded;
mod rules;

use families::FAMILIES;
use judge::Tally;

#[test]
fn a_few_fresh_series_of_each_family() {
    judge_all(40, false);
}

#[test]
#[ignore = "a thousand series of each family: a minute in release"]
fn a_thousand_series_of_each_family() {
    judge_all(1_000, true);
}

/// Draws `count` series of each family and demands what the trend promises, of each family and of all together.
fn judge_all(count: usize, strict: bool) {
    let seed = std::env::var("TREND_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("TREND_SEED={seed}, {count} series of each family");
    println!(
        "{:<24} soon          | grown         | rate covered  | per request   | not growing   | flat          | not flat",
        ""
    );
    let (mut all, mut shortfalls) = (Tally::default(), Vec::new());
    let mut check = |name: &str, tally: &Tally| {
        println!("{name:<24} {tally}");
        shortfalls.extend(tally.shortfalls(strict).into_iter().map(|what| format!("{name}: {what}")));
    };
    for (number, family) in FAMILIES.iter().enumerate() {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        let mut tally = Tally::default();
        for _ in 0..count {
            tally.judge(&(family.draw)(&mut rng));
        }
        all.add(&tally);
        check(family.name, &tally);
    }
    check("all", &all);
    assert!(shortfalls.is_empty(), "TREND_SEED={seed}: {shortfalls:#?}");
}
