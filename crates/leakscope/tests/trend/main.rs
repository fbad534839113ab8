//! The trend is judged by families of generated series whose truth is known, and by a recorded one.

mod families;
mod generator;
mod judge;

use judge::Tally;

#[test]
#[ignore = "a thousand series of each family; run it in release"]
fn a_thousand_series_of_each_family() {
    judge_all(std::env::var("TREND_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000));
}

fn judge_all(count: usize) {
    let seed = std::env::var("TREND_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("TREND_SEED={seed}, {count} series of each family");
    for (i, family) in families::FAMILIES.iter().enumerate() {
        if std::env::var("TREND_ONLY").is_ok_and(|only| !family.name.contains(&only)) {
            continue;
        }
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(i as u64));
        let mut tally = Tally::default();
        for _ in 0..count {
            tally.judge(&(family.draw)(&mut rng));
        }
        println!("{:<24} {tally}", family.name);
    }
}
