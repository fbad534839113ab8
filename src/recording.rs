//! What outlives the process: the instrument's flight recorder, told which settings and leaks there are.
//!
//! The recorder keeps JSON that it does not understand; this is where it is given and taken out again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use leakscope::{
    heap::Profiler,
    memory::{Limit, Sampler},
    recorder::{self, History, PostMortem, Recorder},
};
use serde_json::{Map, Value, json};

use crate::{
    config::Settings,
    leaks::{Registry, Variant},
};

/// The recorder's folder in the data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("recorder")
}

/// Records this run of the service.
pub struct Recording(Arc<Recorder>);

impl Recording {
    /// Finds out how the last run ended, and begins to record this one. A folder that can't be written costs the record,
    /// and one warning.
    pub fn start(
        settings: &Settings,
        limit: Limit,
        profiler: Arc<Profiler>,
        sampler: Arc<Sampler>,
        requests: Arc<AtomicU64>,
    ) -> Self {
        Self(Recorder::start(recorder::Config {
            folder: folder(&settings.data_dir),
            limit,
            settings: as_json(settings),
            profiler,
            sampler,
            requests: Box::new(move || requests.load(Relaxed)),
            on_problem: Box::new(|problem| tracing::warn!("{problem}")),
        }))
    }

    /// How the runs before this one ended.
    pub fn history(&self) -> &History {
        self.0.history()
    }

    /// Writes down what was done to the leaks, and which are on now. Blocks for the disk.
    pub fn leaks(&self, done: &str, detail: Value, leaks: &Registry) {
        self.event(done, detail);
        let on = leaks.iter().filter_map(|leak| Some(as_setting(leak.name(), leak.variant()?)));
        self.0.set_state(Map::from_iter([(LEAKS_ON.to_owned(), on.collect())]));
    }

    /// Writes down that something was done. Blocks for the disk.
    pub fn event(&self, done: &str, detail: Value) {
        let detail = if let Value::Object(detail) = detail { detail } else { Map::new() };
        self.0.event(done, detail);
    }

    /// Writes down that the service stops in good order.
    pub fn stop(&self) {
        self.0.stop();
    }
}

const LEAKS_ON: &str = "leaks_on";

/// The leaks that were on when a run ended, in the form that LEAKLAB_LEAKS takes.
pub fn leaks_on(post_mortem: &PostMortem) -> Vec<&str> {
    let names = post_mortem.state.get(LEAKS_ON).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
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
