//! What outlives the process: the instrument's flight recorder, told which settings and leaks there are.
//!
//! The recorder keeps JSON that it does not understand; this is where it is given and taken out again. What it means to a
//! learner is the labs' matter.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use leakscope::{
    Instrument,
    instrument::InstrumentBuilder,
    recorder::{History, PostMortem, Recorder},
};
use serde_json::{Map, Value, json};

mod event;

pub use event::{Done, LeakFigures};

use crate::{
    config::Settings,
    leaks::{Leak, Registry, Variant},
};

/// The recorder's folder in the data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("recorder")
}

/// Records this run of the service.
pub struct Recording {
    instrument: Instrument,
    /// When memory was last looked at, and after how many requests.
    looked: Mutex<Option<(Instant, u64)>>,
}

/// A look at memory is written down if so many requests were served since the last one,
const LOOK_REQUESTS: u64 = 100;
/// or so much time has passed: somebody may look every second, and the journal is bounded.
const LOOK_PACE: Duration = Duration::from_secs(10);

impl Recording {
    /// What the instrument must know to record the service: where, with which settings, and where the leaks stand.
    pub fn prepare(
        builder: InstrumentBuilder,
        settings: &Settings,
        leaks: Arc<Registry>,
    ) -> InstrumentBuilder {
        builder
            .record_in(folder(&settings.data_dir))
            .settings(as_json(settings))
            .figures(move || figures(&leaks))
    }

    /// The record of an instrument that was [prepared](Self::prepare) for it.
    pub fn new(instrument: Instrument) -> Self {
        Self { instrument, looked: Mutex::default() }
    }

    fn recorder(&self) -> &Recorder {
        self.instrument.recorder().expect("it was prepared to record")
    }

    /// How the runs before this one ended.
    pub fn history(&self) -> &History {
        self.recorder().history()
    }

    /// Writes down what was done to the leaks, and which are on now. Blocks for the disk.
    pub fn leaks(&self, done: Done, leaks: &Registry) {
        self.event(done);
        let on = leaks.iter().filter_map(|leak| Some(as_setting(leak.name(), leak.variant()?)));
        self.recorder().set_state(Map::from_iter([(LEAKS_ON.to_owned(), on.collect())]));
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes down that something was done. Blocks for the disk.
    pub fn event(&self, done: Done) {
        let (kind, detail) = done.into_parts();
        self.recorder().event(&kind, detail);
    }

    /// Writes down that somebody looked at memory while no leak was on. Blocks for the disk.
    pub fn look(&self, requests: u64, rss_bytes: u64) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = looked.is_none_or(|(when, before)| {
            when.elapsed() >= LOOK_PACE || requests.saturating_sub(before) >= LOOK_REQUESTS
        });
        if is_new {
            *looked = Some((Instant::now(), requests));
            self.event(Done::Memory { requests, rss_bytes });
        }
    }

    /// Writes down where everything stands now. Blocks for the disk.
    pub fn read_now(&self) {
        self.recorder().read_now();
    }
}

const LEAKS_ON: &str = "leaks_on";

/// The leaks that were on when a run ended, in the form that LEAKLAB_LEAKS takes.
pub fn leaks_on(post_mortem: &PostMortem) -> Vec<&str> {
    let names = post_mortem.state.get(LEAKS_ON).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Where each leak stands that was ever on in this run.
fn figures(leaks: &Registry) -> Map<String, Value> {
    let stands = |leak: &Leak| {
        let (variant, requests) = (leak.variant(), leak.requests());
        if variant.is_none() && requests == 0 {
            return None;
        }
        let figures = LeakFigures {
            variant: variant.map(|variant| variant.name().to_owned()),
            requests,
            held_bytes: leak.held().payload_bytes,
            lookups: leak.lookups().map(|lookups| (lookups.hits, lookups.misses)),
        };
        Some((leak.name().to_owned(), serde_json::to_value(figures).ok()?))
    };
    leaks.iter().filter_map(stands).collect()
}

fn as_setting(name: &str, variant: Variant) -> String {
    match variant {
        Variant::Leaky => name.to_owned(),
        other => format!("{name}:{}", other.name()),
    }
}

fn as_json(settings: &Settings) -> Map<String, Value> {
    // Named one by one: a new setting that is forgotten here does not compile.
    let Settings { listen, limit_bytes, work, data_dir, leaks, allowed_hosts, log_format } = settings;
    let leaks: Vec<_> = leaks.iter().map(|(name, variant)| as_setting(name, *variant)).collect();
    let settings = json!({
        "listen": listen.to_string(),
        "limit_bytes": limit_bytes,
        "work_ms": work.as_millis() as u64,
        "data_dir": data_dir,
        "leaks": leaks,
        "allowed_hosts": allowed_hosts,
        "log_format": format!("{log_format:?}").to_lowercase(),
    });
    if let Value::Object(settings) = settings { settings } else { Map::new() }
}
