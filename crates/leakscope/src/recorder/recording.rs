//! The writing side: the journal of this run, its samples on disk, and the handlers that write a crash down.

use std::{
    fmt::Display,
    fs::{File, TryLockError},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::{Map, Value};

use super::{
    crash,
    entry::{Entry, Start, What},
    files::{self, unix_ms_now},
    history::{History, is_alive},
    journal::{self, Journal},
    readings::Reading,
    ring::Ring,
};
use crate::{
    heap::build_id,
    lock::lock,
    proc::Process,
    quantity::{Observation, Observer},
};

pub(super) const SEGMENT_BYTES: u64 = 512 << 10;

/// What to record, and where.
pub(crate) struct Config {
    /// The folder; made if it is not there. Nobody else may record into it.
    pub folder: PathBuf,
    /// The limit in force.
    pub limit_bytes: Option<u64>,
    /// The program's settings, for the post-mortem. At most 32 KiB.
    pub settings: Map<String, Value>,
    /// Reads the process where an event is written down.
    pub observer: Arc<Observer>,
    /// The program's own figures for each [`Reading`].
    pub figures: Box<dyn Fn() -> Map<String, Value> + Send + Sync>,
    /// Told once what can't be read or written, and what that costs.
    pub on_problem: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Records one run of the program, until it is stopped or dropped.
pub struct Recorder {
    history: History,
    run: u64,
    folder: PathBuf,
    observer: Arc<Observer>,
    figures: Box<dyn Fn() -> Map<String, Value> + Send + Sync>,
    /// Held while this run is recorded; `None`: another process records into the folder, or locks can't be had there.
    claim: Mutex<Option<File>>,
    /// `None`: it could not be opened, or is closed.
    journal: Mutex<Option<Book>>,
    /// `None`: it could not be opened.
    ring: Mutex<Option<Ring>>,
    last_reading: Mutex<Reading>,
    is_crash_recorder: bool,
    has_warned: AtomicBool,
    on_problem: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Whether a folder is free to be recorded into.
enum Claim {
    /// Free until now. The lock holds as long as the file is open; the kernel takes it back when the process dies.
    Ours(File),
    /// Another recorder holds it.
    Taken,
    /// The folder can't be made or written, or its file system knows no locks: whether another process records there can only
    /// be told by its start in the journal.
    Unavailable,
}

fn claim(folder: &Path) -> Claim {
    let opened = files::make_folder(folder)
        .and_then(|()| files::private().truncate(false).write(true).open(folder.join("lock")));
    let Ok(file) = opened else { return Claim::Unavailable };
    match file.try_lock() {
        Ok(()) => Claim::Ours(file),
        Err(TryLockError::WouldBlock) => Claim::Taken,
        Err(TryLockError::Error(_)) => Claim::Unavailable,
    }
}

/// The journal, and what a new segment begins with.
struct Book {
    journal: Journal,
    start: Entry,
    state: Option<Entry>,
}

impl Recorder {
    /// Judges how the last run ended, then records this one. Installs handlers of the signals that end a process
    /// for what it did itself (SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP), which write the crash down and go on to what
    /// was installed before; the first recorder of a process has them.
    ///
    /// Never fails: what can't be done is told, and the program goes on without it. Blocks for some milliseconds, and
    /// for up to half a second where a heap profile of the last run has to be symbolized.
    pub(crate) fn start(config: Config) -> Self {
        let Config { folder, limit_bytes, settings, observer, figures, on_problem } = config;
        let claim = claim(&folder);
        let (history, written) = match claim {
            Claim::Taken => (History::read(&folder), Ok(())),
            Claim::Ours(_) => History::judge_and_write(&folder, |_| false),
            Claim::Unavailable => History::judge_and_write(&folder, is_alive),
        };
        let last = history.post_mortems.first().map_or(0, |last| last.run);
        let mut recorder = Self {
            history,
            run: unix_ms_now().max(last + 1),
            folder,
            observer,
            figures,
            claim: Mutex::default(),
            journal: Mutex::new(None),
            ring: Mutex::new(None),
            last_reading: Mutex::default(),
            is_crash_recorder: false,
            has_warned: AtomicBool::new(false),
            on_problem,
        };
        for problem in &recorder.history.problems {
            (recorder.on_problem)(problem);
        }
        if let Err(error) = written {
            recorder.warn(error);
        }
        match claim {
            Claim::Taken => {
                (recorder.on_problem)(&format!(
                    "another process records into {}, so this one records nothing: give each process a folder of its own",
                    recorder.folder.display()
                ));
                return recorder;
            }
            Claim::Ours(file) => recorder.claim = Mutex::new(Some(file)),
            Claim::Unavailable => {}
        }
        let process = Process::this();
        let start = recorder.entry(What::Start(Start {
            pid: process.pid(),
            ticks: process.start_ticks(),
            build_id: build_id().to_owned(),
            limit_bytes,
            settings,
        }));
        match recorder.open(start) {
            Ok(()) => {
                recorder.is_crash_recorder = recorder.install_crash_handler();
                recorder.tell_end();
            }
            Err(error) => recorder.warn(error),
        }
        recorder
    }

    /// How the runs before this one ended.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Takes a reading now, if anything has moved since the last one. Blocks for the disk.
    pub fn read_now(&self) {
        self.take_reading(|| self.observer.now());
    }

    /// The same of an observation that has just been made.
    pub(crate) fn read(&self, now: &Observation) {
        self.take_reading(|| *now);
    }

    fn take_reading(&self, observe: impl FnOnce() -> Observation) {
        // The program is asked before the lock is taken: it may call the recorder.
        let program = (self.figures)();
        // Held while it is written: readings are written in the order in which they are taken.
        let mut last = lock(&self.last_reading);
        let now = Reading::new(&observe(), program);
        if !now.has_moved_from(&last) {
            return;
        }
        last.clone_from(&now);
        let written = self.write(self.entry(What::Reading(now)));
        drop(last);
        self.warn_of(written);
    }

    /// Writes an event of the program's own down, with a reading before it, if anything has moved. Blocks for the disk; at
    /// most 32 KiB, else only the kind is kept.
    pub fn event(&self, kind: &str, detail: Map<String, Value>) {
        self.read_now();
        self.append(What::Program { kind: kind.to_owned(), detail });
    }

    /// Writes the program's state down, in place of the one before: what the post-mortem is to say of it. Blocks for the
    /// disk; at most 32 KiB.
    pub fn set_state(&self, state: Map<String, Value>) {
        self.append(What::State { state });
    }

    /// Writes an observation to the samples on disk.
    pub(crate) fn sample(&self, observation: &Observation) {
        let written = match lock(&self.ring).as_mut() {
            Some(ring) => ring.push(self.run, *observation),
            None => Ok(()),
        };
        self.warn_of(written);
    }

    /// Writes down that the program stops in good order. What comes later is not recorded.
    pub(crate) fn stop(&self) {
        self.sample(&self.observer.now());
        self.read_now();
        self.append(What::Stop);
        self.close(crash::retire);
    }

    /// Whether there is something to record into.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.journal).is_some()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn append(&self, what: What) {
        self.warn_of(self.write(self.entry(what)));
    }

    fn warn_of(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.warn(error);
        }
    }

    /// Says once that the disk can't be written.
    pub(super) fn warn(&self, error: impl Display) {
        if !self.has_warned.swap(true, Relaxed) {
            (self.on_problem)(&format!(
                "the flight recorder can't write to {}: {error}; the program goes on, and a later post-mortem may know \
                 nothing of this run",
                self.folder.display()
            ));
        }
    }

    /// Lets the folder go, once nothing writes into it any more. The handlers' journal is given to `hand_over`.
    fn close(&self, hand_over: fn(OwnedFd)) {
        *lock(&self.ring) = None;
        if let Some(book) = lock(&self.journal).take()
            && self.is_crash_recorder
        {
            hand_over(book.journal.into_descriptor());
        }
        *lock(&self.claim) = None;
    }

    fn entry(&self, what: What) -> Entry {
        Entry { run: self.run, unix_ms: Some(unix_ms_now()), what }
    }

    /// Opens the files and writes the start down.
    fn open(&self, start: Entry) -> io::Result<()> {
        files::make_folder(&self.folder)?;
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
        *lock(&self.ring) = Some(ring);
        Ok(())
    }

    fn install_crash_handler(&self) -> bool {
        let record = |what| journal::framed(&Entry { run: self.run, unix_ms: None, what }.payload());
        let records = crash::SIGNALS.map(|signal| record(What::Crash { signal }));
        let Some(descriptor) = lock(&self.journal).as_ref().map(|book| book.journal.descriptor()) else {
            return false;
        };
        crash::install(descriptor, records, record(What::Exit)).is_ok()
    }

    /// Writes the end of the last run down beside its events: the post-mortems that are kept are fewer than the runs.
    fn tell_end(&self) {
        if let Some(last) = self.history.post_mortems.first() {
            self.warn_of(self.write(Entry { run: last.run, ..self.entry(What::Ended(last.into())) }));
        }
    }

    fn write(&self, entry: Entry) -> io::Result<()> {
        let mut journal = lock(&self.journal);
        let Some(book) = journal.as_mut() else { return Ok(()) };
        let payload = entry.payload();
        if let What::State { .. } = entry.what {
            book.state = Some(entry);
        }
        if book.journal.is_full(payload.len()) {
            let carried = [Some(&book.start), book.state.as_ref()].into_iter().flatten();
            let carried: Vec<_> = carried.map(Entry::payload).chain([payload]).collect();
            book.journal.turn_over(&carried)
        } else {
            book.journal.append(&payload)
        }
    }
}

impl Drop for Recorder {
    /// Without a stop there is none in the journal: the post-mortem will look for another cause, and an exit that follows is
    /// still written down.
    fn drop(&mut self) {
        self.close(crash::keep_open);
    }
}
