//! The instrument as one value, without HTTP: [`Instrument`].
//!
//! It owns the heap profiler, one clock that reads the process, the samples in memory, the trend and the flight recorder.
//! The clock takes each observation once and shows it to everybody who wants one. This room joins the others; it measures
//! nothing itself.

mod builder;
mod clock;
mod profiles;
mod ring;
mod running;
mod watch;

pub use builder::InstrumentBuilder;
pub use profiles::{Compared, Profiles};
pub use ring::{USUAL_CAPACITY, USUAL_INTERVAL};
pub use running::Instrument;
pub use watch::Window;
