//! What is read of this process again and again, and what each reading is: an open set of quantities.
//!
//! [`QUANTITIES`] declares them, one entry each: name, unit, how to read it, how often, and what growth of it does not
//! matter. Everything that carries values (the ring in memory, the samples on disk, the trend) goes by that list. An
//! observation is one value of each at one moment. This room knows nothing of when it is
//! asked, nor of what is done with the answers.

mod moment;
mod observation;
mod observer;
mod table;

pub(crate) use observation::{Observation, report};
pub(crate) use observer::Observer;
pub use table::QUANTITIES;

use crate::trend::{Basis, Unit};
use moment::Moment;

/// One thing that is read of this process.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Quantity {
    /// Its name, as in `series` of the trend's answer and in the samples on disk.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// How often it is read.
    pub pace: Pace,
    /// Growth over the usual window that is too small to matter, in its unit; `None`: no trend is made of it.
    pub negligible_growth: Option<f64>,
    /// Which answer to "does memory grow?" rests on it; `None`: it has a trend of its own, and no part in that answer.
    pub basis: Option<Basis>,
    /// `None`: it can't be read here.
    read: fn(&Moment<'_>) -> Option<i64>,
}

/// How often a quantity is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// For each observation: it costs some microseconds.
    Each,
    /// Every five seconds, since it costs milliseconds. An observation in between has the last value.
    Slow,
}
