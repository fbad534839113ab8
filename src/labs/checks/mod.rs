//! The labs' checks, a file each, and the list of all labs.

mod baseline;
mod cache_leak;
mod compare;
mod fix;
mod forecast;
mod kill;
mod name_the_line;
mod take_home;
mod traffic;

use super::Lab;

/// Every lab, in the order in which they are taken.
pub const LABS: [Lab; 10] = [
    baseline::LAB,
    cache_leak::LAB,
    traffic::LAB,
    name_the_line::LAB,
    fix::LAB,
    fix::BY_YOURSELF,
    compare::LAB,
    kill::LAB,
    forecast::LAB,
    take_home::LAB,
];

/// A learner's figure against the samples': too low or too high, without saying the samples' own.
fn off_by(answer: f64, truth: f64) -> &'static str {
    if answer < truth { "too low" } else { "too high" }
}
