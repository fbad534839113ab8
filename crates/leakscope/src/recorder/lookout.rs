//! Looks out for the limit: writes the raw heap profile when usage passes a threshold.

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

/// Time between two looks at usage while it is far from the first threshold.
const LOOK_FAR: Duration = Duration::from_millis(100);
/// The same near it: at 100 MB/s usage grows by 1 MB meanwhile.
const LOOK_NEAR: Duration = Duration::from_millis(10);
/// From this share of the limit on it is near: 20 points below the first threshold.
const NEAR: f64 = (PERCENT[0] - 20) as f64 / 100.0;

/// Heap profiles kept, the newest ones.
const PROFILES: usize = 6;
const PROFILE_SUFFIX: &str = ".heap";

/// Writes a raw heap profile to a file; an error says why it could not.
pub(crate) type Save = Box<dyn Fn(&Path) -> Result<(), String> + Send>;

/// Which thresholds were passed, and what follows from that.
pub(crate) struct Lookout {
    recorder: Arc<Recorder>,
    limit_bytes: u64,
    thresholds: Thresholds,
    /// `None`: no heap profile can be taken here.
    save: Option<Save>,
}

impl Lookout {
    /// Removes profiles of runs before that are too many.
    pub fn new(recorder: Arc<Recorder>, limit_bytes: u64, save: Option<Save>) -> Self {
        forget_old_profiles(recorder.folder());
        Self { recorder, limit_bytes, thresholds: Thresholds::default(), save }
    }

    /// Takes a look at usage and does what follows; returns in how long to look again.
    pub fn look(&mut self, usage_bytes: u64) -> Duration {
        let share = usage_bytes as f64 / self.limit_bytes as f64;
        let passed = self.thresholds.pass(share);
        // The profile first: there may be little time.
        if let (Some(percent), Some(save)) = (passed.last(), &self.save) {
            self.write_profile(*percent, save);
        }
        for percent in passed {
            self.recorder.append(What::Threshold { percent, usage_bytes });
        }
        if share < NEAR { LOOK_FAR } else { LOOK_NEAR }
    }

    fn write_profile(&self, percent: u8, save: &Save) {
        let started = Instant::now();
        let file = format!("heap-{:013}-{percent}{PROFILE_SUFFIX}", unix_ms_now());
        match save(&self.recorder.folder().join(&file)) {
            Ok(()) => {
                let took_ms = started.elapsed().as_secs_f64() * 1e3;
                self.recorder.append(What::Profile { file, percent, took_ms });
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
