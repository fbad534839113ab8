//! What was left? A flight recorder: a journal of events and a ring of samples on disk, the raw heap profile when memory
//! runs out, and at the next start a post-mortem.
//!
//! It knows nothing of the program: settings, state and events are JSON that it keeps and hands back. What it writes
//! survives the death of the process at any byte, by SIGKILL too, and is bounded: two segments of a journal (1 MiB: more than
//! an hour of readings), the samples of ten minutes (192 KB), six heap profiles, ten post-mortems. A disk that can't be
//! written never stops the program; [`Config::on_problem`] is told once.
//!
//! | file | what |
//! |---|---|
//! | `journal`, `journal.old` | records: starts, stops, crashes, the program's events and readings; [`runs()`] reads them |
//! | `samples` | four samples a second |
//! | `heap-*.heap` | raw profiles, for [`crate::heap::read_profile`] |
//! | `supervisor.json` | what a supervising process saw of the end: [`Witness`] |
//! | `post-mortems.json` | the last ends and their counts: [`History`] |
//!
//! One process records into a folder at a time: the program sees to that.

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};

mod cause;
mod crash;
mod entry;
mod history;
mod journal;
mod post_mortem;
mod readings;
mod ring;
mod runs;
#[cfg(test)]
mod tests;
mod thresholds;
mod watch;
mod witness;

pub use cause::{Cause, Certainty, signal_name};
use entry::{Entry, Start, What};
pub use history::History;
use journal::Journal;
pub use journal::read_if_there;
pub use post_mortem::{At, Growing, PostMortem};
pub use readings::Reading;
use readings::Readings;
use ring::Ring;
pub use runs::{End, Event, Run, runs};
use watch::Watch;
pub use witness::Witness;

use crate::{
    heap::{Profiler, build_id},
    memory::{Limit, Sampler},
    proc::Process,
};

const SEGMENT_BYTES: u64 = 512 << 10;

/// What to record, and where.
pub struct Config {
    /// The folder; made if it is not there. Nobody else may record into it.
    pub folder: PathBuf,
    /// The limit in force.
    pub limit: Limit,
    /// The program's settings, for the post-mortem. At most 32 KiB.
    pub settings: Map<String, Value>,
    /// Writes the heap profiles.
    pub profiler: Arc<Profiler>,
    /// Knows the unaccounted memory, which is too dear to be read four times a second.
    pub sampler: Arc<Sampler>,
    /// Number of requests served so far.
    pub requests: Box<dyn Fn() -> u64 + Send>,
    /// The program's own figures for each [`Reading`]. Asked every two seconds and at each event, whatever the program does
    /// meanwhile.
    pub figures: Box<dyn Fn() -> Map<String, Value> + Send>,
    /// Told once what can't be read or written, and what that costs.
    pub on_problem: Box<dyn Fn(&str) + Send + Sync>,
}

/// Records until it is stopped or dropped.
pub struct Recorder {
    history: History,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_crash_recorder: bool,
}

/// What the program and the recorder's own thread share.
struct Shared {
    run: u64,
    folder: PathBuf,
    /// `None`: it could not be opened, or is closed.
    journal: Mutex<Option<Book>>,
    readings: Mutex<Readings>,
    stopped: Mutex<bool>,
    stop: Condvar,
    has_warned: AtomicBool,
    on_problem: Box<dyn Fn(&str) + Send + Sync>,
}

/// The journal, and what a new segment begins with.
struct Book {
    journal: Journal,
    start: Entry,
    state: Option<Entry>,
}

impl Recorder {
    /// Judges how the last run ended, then records this one. Installs handlers of SIGABRT, SIGSEGV and SIGBUS, which write
    /// the crash down and go on to what was installed before; the first recorder of a process has them.
    ///
    /// Never fails: what is not to be had is told, and the program goes on without it. Blocks for some milliseconds, and
    /// for up to half a second where a heap profile of the last run has to be symbolized.
    pub fn start(config: Config) -> Arc<Self> {
        let Config { folder, limit, settings, profiler, sampler, requests, figures, on_problem } = config;
        let (history, written) = History::judge_and_write(&folder);
        let last = history.post_mortems.first().map_or(0, |last| last.run);
        let shared = Arc::new(Shared {
            run: unix_ms_now().max(last + 1),
            folder,
            journal: Mutex::new(None),
            readings: Mutex::new(Readings::new(limit, requests, figures)),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
            has_warned: AtomicBool::new(false),
            on_problem,
        });
        for problem in &history.problems {
            (shared.on_problem)(problem);
        }
        if let Err(error) = written {
            shared.warn(error);
        }
        let process = Process::this();
        let start = shared.entry(What::Start(Start {
            pid: process.pid(),
            ticks: process.start_ticks(),
            build_id: build_id().to_owned(),
            limit_bytes: limit.bytes,
            settings,
        }));
        let mut is_crash_recorder = false;
        let ring = match shared.open(start) {
            Ok(ring) => {
                is_crash_recorder = shared.install_crash_handler();
                shared.tell_end(&history);
                Some(ring)
            }
            Err(error) => {
                shared.warn(error);
                None
            }
        };
        let watch = Watch::new(Arc::clone(&shared), ring, limit, profiler, sampler);
        let thread = thread::Builder::new().name("leakscope-recorder".into()).spawn(move || watch.run());
        let thread = Mutex::new(thread.map_err(|error| shared.warn(error)).ok());
        Arc::new(Self { history, shared, thread, is_crash_recorder })
    }

    /// How the runs before this one ended.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Takes a reading now, if anything has moved since the last one. Blocks for the disk.
    pub fn read_now(&self) {
        self.shared.read();
    }

    /// Writes an event of the program's own down, with a reading before it, if anything has moved. Blocks for the disk; at
    /// most 32 KiB, else only the kind is kept.
    pub fn event(&self, kind: &str, detail: Map<String, Value>) {
        self.shared.read();
        self.shared.append(What::Program { kind: kind.to_owned(), detail });
    }

    /// Writes the program's state down, in place of the one before: what the post-mortem is to say of it. Blocks for the
    /// disk; at most 32 KiB.
    pub fn set_state(&self, state: Map<String, Value>) {
        self.shared.append(What::State { state });
    }

    /// Writes down that the program stops in good order. What comes later is not recorded.
    pub fn stop(&self) {
        self.halt();
        self.shared.read();
        self.shared.append(What::Stop);
        self.close();
    }

    fn halt(&self) {
        *lock(&self.shared.stopped) = true;
        self.shared.stop.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there was in the closure that counts requests, and has been printed.
            let _ = thread.join();
        }
    }

    fn close(&self) {
        if let Some(book) = lock(&self.shared.journal).take()
            && self.is_crash_recorder
        {
            crash::retire(book.journal.into_descriptor());
        }
    }
}

impl Drop for Recorder {
    /// Without [`Recorder::stop`] there is no stop in the journal: the post-mortem will look for another cause.
    fn drop(&mut self) {
        self.halt();
        self.close();
    }
}

impl Shared {
    fn entry(&self, what: What) -> Entry {
        Entry { run: self.run, unix_ms: Some(unix_ms_now()), what }
    }

    /// Opens the files and writes the start down.
    fn open(&self, start: Entry) -> io::Result<Ring> {
        fs::create_dir_all(&self.folder)?;
        let mut moved = |message: String| (self.on_problem)(&message);
        let ring = Ring::open(&self.folder, &mut moved)?;
        let mut journal = Journal::open(&self.folder, SEGMENT_BYTES, &mut moved)?;
        let payload = start.payload();
        if journal.is_full(payload.len()) {
            journal.turn_over(&[payload])?;
        } else {
            journal.append(&payload)?;
        }
        *lock(&self.journal) = Some(Book { journal, start, state: None });
        Ok(ring)
    }

    fn install_crash_handler(&self) -> bool {
        let records = crash::SIGNALS.map(|signal| {
            let entry = Entry { run: self.run, unix_ms: None, what: What::Crash { signal } };
            journal::framed(&entry.payload())
        });
        let Some(descriptor) = lock(&self.journal).as_ref().map(|book| book.journal.descriptor()) else {
            return false;
        };
        crash::install(descriptor, records).is_ok()
    }

    /// Writes the end of the last run down beside its events: the post-mortems that are kept are fewer than the runs.
    fn tell_end(&self, history: &History) {
        if let Some(last) = history.post_mortems.first() {
            self.write(Entry { run: last.run, ..self.entry(What::Ended(last.into())) });
        }
    }

    /// Takes a reading, if anything has moved.
    fn read(&self) {
        // Held meanwhile: readings are written in the order in which they are taken.
        let mut readings = lock(&self.readings);
        if let Some(reading) = readings.take() {
            self.append(What::Reading(reading));
        }
    }

    fn append(&self, what: What) {
        self.write(self.entry(what));
    }

    fn write(&self, entry: Entry) {
        let mut journal = lock(&self.journal);
        let Some(book) = journal.as_mut() else { return };
        let payload = entry.payload();
        if let What::State { .. } = entry.what {
            book.state = Some(entry);
        }
        let written = if book.journal.is_full(payload.len()) {
            let carried = [Some(&book.start), book.state.as_ref()].into_iter().flatten();
            let carried: Vec<_> = carried.map(Entry::payload).chain([payload]).collect();
            book.journal.turn_over(&carried)
        } else {
            book.journal.append(&payload)
        };
        drop(journal);
        if let Err(error) = written {
            self.warn(error);
        }
    }

    /// Says once that the disk can't be written.
    fn warn(&self, error: impl Display) {
        if !self.has_warned.swap(true, Relaxed) {
            (self.on_problem)(&format!(
                "the flight recorder can't write to {}: {error}; the program goes on, and a later post-mortem may know \
                 nothing of this run",
                self.folder.display()
            ));
        }
    }
}

/// Writes a file as a whole or not at all: through a draft beside it, which takes its place.
///
/// # Errors
/// The folder can't be written; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let replaced = fs::write(&draft, content).and_then(|()| fs::rename(&draft, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Now, in milliseconds since the Unix epoch: the journal's time.
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A panic leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
