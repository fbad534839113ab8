//! Looks out for the moments that are worth a heap profile on disk: it writes the raw profile, which costs milliseconds and
//! names the lines after the process is gone.
//!
//! There are four: usage passes a threshold of the limit; the live heap has doubled since the last profile; the trend turns
//! to growing; and every minute while it stays so, as long as the live heap has grown. Only the first needs a limit.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    entry::What,
    files::unix_ms_now,
    recording::Recorder,
    thresholds::{PERCENT, Thresholds},
};
use crate::trend::Verdict;

/// Time between two looks at usage while it is far from the first threshold.
const LOOK_FAR: Duration = Duration::from_millis(100);
/// The same near it: at 100 MB/s usage grows by 1 MB meanwhile.
const LOOK_NEAR: Duration = Duration::from_millis(10);
/// From this share of the limit on it is near: 20 points below the first threshold.
const NEAR: f64 = (PERCENT[0] - 20) as f64 / 100.0;

/// The live heap of a small program doubles often, by nothing that matters.
const LEAST_DOUBLED_BYTES: u64 = 8 << 20;
/// Least time between two profiles of a program whose memory grows.
const WHILE_GROWING: Duration = Duration::from_secs(60);
/// Another profile is worth writing if the live heap has grown by this share of itself.
const WORTH_ANOTHER: f64 = 0.05;

/// Heap profiles kept, the newest ones.
const PROFILES: usize = 6;
const PROFILE_SUFFIX: &str = ".heap";

/// Writes a raw heap profile to a file; an error says why it could not.
pub(crate) type Save = Box<dyn Fn(&Path) -> Result<(), String> + Send>;

/// What was seen so far, and what follows from that.
pub(crate) struct Lookout {
    recorder: Arc<Recorder>,
    limit_bytes: Option<u64>,
    thresholds: Thresholds,
    /// `None`: no heap profile can be taken here.
    save: Option<Save>,
    live_heap_bytes: u64,
    /// At the last profile, or at the start.
    then_bytes: u64,
    then: Instant,
    grows: bool,
}

impl Lookout {
    /// Removes profiles of runs before that are too many. `live_heap_bytes` is that of the start.
    pub fn new(
        recorder: Arc<Recorder>,
        limit_bytes: Option<u64>,
        live_heap_bytes: u64,
        save: Option<Save>,
    ) -> Self {
        forget_old_profiles(recorder.folder());
        Self {
            recorder,
            limit_bytes: limit_bytes.filter(|bytes| *bytes > 0),
            thresholds: Thresholds::default(),
            save,
            live_heap_bytes,
            then_bytes: live_heap_bytes,
            then: Instant::now(),
            grows: false,
        }
    }

    /// Takes a look at usage, and says in how long to look again.
    pub fn look(&mut self, usage_bytes: u64) -> Duration {
        let Some(limit_bytes) = self.limit_bytes else { return LOOK_FAR };
        let share = usage_bytes as f64 / limit_bytes as f64;
        let passed = self.thresholds.pass(share);
        // The profile first: there may be little time.
        if let Some(percent) = passed.last() {
            self.write_profile(Some(*percent), &format!("usage passed {percent} % of the limit"));
        }
        for percent in passed {
            self.recorder.append(What::Threshold { percent, usage_bytes });
        }
        if share < NEAR { LOOK_FAR } else { LOOK_NEAR }
    }

    /// Takes the live heap as it is now.
    pub fn live_heap_is(&mut self, bytes: u64) {
        self.live_heap_bytes = bytes;
        if bytes >= 2 * self.then_bytes && bytes - self.then_bytes >= LEAST_DOUBLED_BYTES {
            self.write_profile(None, "the live heap had doubled since the profile before");
        } else if self.grows && self.then.elapsed() >= WHILE_GROWING && self.is_worth_another() {
            self.write_profile(None, "memory had been growing for another minute");
        }
    }

    /// Takes the verdict as it is now.
    pub fn verdict_is(&mut self, verdict: Verdict) {
        let grew = std::mem::replace(&mut self.grows, verdict == Verdict::Growing);
        // A verdict that goes to and fro must not drive out the profiles before.
        if self.grows && !grew && self.is_worth_another() {
            self.write_profile(None, "the trend turned to growing");
        }
    }

    fn is_worth_another(&self) -> bool {
        self.live_heap_bytes as f64 >= (1.0 + WORTH_ANOTHER) * self.then_bytes as f64
    }

    fn write_profile(&mut self, percent: Option<u8>, when: &str) {
        (self.then, self.then_bytes) = (Instant::now(), self.live_heap_bytes);
        let Some(save) = &self.save else { return };
        let started = Instant::now();
        let mark = percent.map(|percent| format!("-{percent}")).unwrap_or_default();
        let file = format!("heap-{:013}{mark}{PROFILE_SUFFIX}", unix_ms_now());
        match save(&self.recorder.folder().join(&file)) {
            Ok(()) => {
                let took_ms = started.elapsed().as_secs_f64() * 1e3;
                self.recorder.append(What::Profile { file, percent, when: when.to_owned(), took_ms });
            }
            Err(error) => self.recorder.warn(error),
        }
        forget_old_profiles(self.recorder.folder());
    }
}

/// Removes all but the newest profiles, and those that death left half written.
fn forget_old_profiles(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (mut whole, drafts): (Vec<_>, Vec<_>) =
        names.filter(|name| name.starts_with("heap-")).partition(|name| name.ends_with(PROFILE_SUFFIX));
    whole.sort_unstable(); // the names begin with the time
    for name in whole.iter().rev().skip(PROFILES).chain(&drafts) {
        let _ = fs::remove_file(folder.join(name));
    }
}
