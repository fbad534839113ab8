//! What was left? A flight recorder: a journal of events and a ring of samples on disk, raw heap profiles (at thresholds of
//! the limit, when the live heap has doubled, while memory grows), and at the next start a post-mortem.
//!
//! It knows nothing of the program: settings, state and events are JSON that it keeps and hands back. What it writes
//! survives the death of the process at any byte, by SIGKILL too, and is bounded: two segments of a journal (1 MiB: more than
//! an hour of readings), the samples of ten minutes (212 KB), six heap profiles, ten post-mortems. A disk that can't be
//! written never stops the program; the program is told once.
//!
//! | file | what |
//! |---|---|
//! | `journal`, `journal.old` | records: starts, stops, exits, crashes, the program's events and readings; [`runs()`] reads them |
//! | `samples` | four samples a second |
//! | `lock` | held by the process that records |
//! | `*.draft` | a file that is being written |
//! | `*.foreign`, `journal*.format-N` | what was found here and could not be read, moved aside |
//! | `heap-*.heap` | raw profiles, for [`crate::heap::read_profile`] |
//! | `supervisor.json` | what a supervising process saw of the end: [`Witness`] |
//! | `post-mortems.json` | the last ends and their counts: [`History`] |
//!
//! Only the owner may read these files (mode 0600), and a folder that the recorder makes is 0700. A folder or file that was there
//! before keeps its mode.
//!
//! One process records into a folder at a time; a second one is told, and records nothing. This room takes no observations
//! of its own accord: whoever runs it says when.

mod cause;
mod crash;
mod end;
mod entry;
mod files;
mod history;
mod journal;
mod lookout;
mod post_mortem;
mod readings;
mod recording;
mod ring;
mod run_event;
mod runs;
#[cfg(test)]
mod tests;
mod thresholds;
mod witness;

pub use cause::{Cause, Certainty, signal_name};
pub use end::End;
pub use files::{read_if_there, replace, unix_ms_now};
pub use history::History;
pub(crate) use lookout::{Lookout, Save};
pub use post_mortem::{At, Growing, PostMortem};
pub(crate) use readings::PACE;
pub use readings::Reading;
pub(crate) use recording::Config;
pub use recording::Recorder;
pub use run_event::RunEvent;
pub use runs::{ProgramEvent, Run, runs};
pub use witness::Witness;
