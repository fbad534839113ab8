//! The heap profiler of this process: what it can do here, and snapshots, one at a time.

use std::{
    hint::black_box,
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use super::{
    controls::{self, Unfit, UnsampledThread},
    dump::dump,
    tally::Counts,
    unwind,
};
use crate::{
    heap::{Error, Estimate, Snapshot, Stack, Status, Symbols, Taken, Unwinder},
    lock::lock,
};

/// The heap profiler of this process. Make one at the start, and share it.
pub struct Profiler {
    status: Status,
    symbols: Mutex<Symbols>,
    /// The snapshot under way, for all who want one meanwhile.
    flight: Mutex<Option<Flight>>,
}

type Flight = Arc<OnceLock<Result<Arc<Snapshot>, Error>>>;

impl Profiler {
    /// Checks the allocator, installs the unwinder, walks a known call. Takes a few milliseconds. Never fails:
    /// [`Profiler::status`] says what is lost.
    pub fn start() -> Arc<Self> {
        let status = match controls::sample_interval_bytes() {
            _ if !cfg!(target_os = "linux") => off("heap profiles are taken on Linux only".to_owned()),
            Ok(interval_bytes) => Status {
                enabled: true,
                problem: None,
                sample_interval_bytes: interval_bytes,
                unwinder: install_unwinder(interval_bytes),
            },
            Err(unfit) => off(how_to_switch_on(unfit)),
        };
        let symbols = Mutex::new(Symbols::new(controls::purge_thread));
        Arc::new(Self { status, symbols, flight: Mutex::default() })
    }

    /// What it can do here.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes a snapshot. Blocks for up to about 100 ms the first time and 10 ms later: call it off the async runtime.
    /// Single flight: a caller that comes while one is under way gets that one's result.
    ///
    /// # Errors
    /// [`Error::Off`] where profiling is off, with what switches it on; [`Error::Failed`] where jemalloc could not write
    /// its profile or wrote something else than a profile.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        if let Some(problem) = &self.status.problem {
            return Err(Error::Off(problem.clone()));
        }
        let flight = Arc::clone(lock(&self.flight).get_or_insert_default());
        // Should the one who takes it panic, the next in line takes it anew.
        let taken = flight.get_or_init(|| {
            let taken = self.take();
            *lock(&self.flight) = None;
            taken
        });
        taken.clone()
    }

    fn take(&self) -> Result<Arc<Snapshot>, Error> {
        let _unsampled = UnsampledThread::new();
        let taken_at = SystemTime::now();
        let before = Counts::now();
        let profile = dump().map_err(Error::Failed)?;
        let after = Counts::now();
        let traces = lock(&self.symbols).traces(&profile.stacks, &profile.mappings);
        let stacks = profile.stacks.iter().zip(traces).map(|(raw, trace)| Stack {
            trace,
            live: Estimate::new(raw.samples, raw.bytes, profile.interval_bytes),
            taken: after
                .of(&raw.addresses)
                .map(|at_most| Taken { at_least: before.of(&raw.addresses).unwrap_or(0), at_most }),
        });
        let stacks = stacks.collect();
        Ok(Arc::new(Snapshot::new(taken_at, profile.interval_bytes, stacks, profile.mappings)))
    }
}

fn off(problem: String) -> Status {
    let unwinder = Unwinder::Default { reason: "heap profiling is off".to_owned() };
    Status { enabled: false, problem: Some(problem), sample_interval_bytes: 0, unwinder }
}

fn how_to_switch_on(unfit: Unfit) -> String {
    const OPTIONS: &str = "prof:true,prof_active:true,lg_prof_sample:16";
    const MACRO: &str = "put `leakscope::jemalloc!();` at the root of the binary crate";
    let now = std::env::var("_RJEM_MALLOC_CONF");
    let now = now.map(|value| format!(" (now `{value}`)")).unwrap_or_default();
    match unfit {
        Unfit::NotTheAllocator => format!(
            "heap profiling is off: this program does not allocate with jemalloc; {MACRO}, in place of any other \
             `#[global_allocator]`"
        ),
        Unfit::ProfilingOff => format!(
            "heap profiling is off: jemalloc was started with `prof:false`, and that holds until the process ends; {MACRO}, or \
             export `_rjem_malloc_conf` = \"{OPTIONS}\" from it, and start it without `prof:false` in the environment \
             variable _RJEM_MALLOC_CONF{now}; a program as it is can be started with _RJEM_MALLOC_CONF={OPTIONS} (a jemalloc \
             built without prefix reads `malloc_conf` and MALLOC_CONF instead)"
        ),
        Unfit::Inactive => format!(
            "heap profiling is off: jemalloc was started with `prof_active:false`, so it has sampled nothing; start it with \
             _RJEM_MALLOC_CONF={OPTIONS}{now}"
        ),
    }
}

/// Puts the frame-pointer unwinder in, and takes it out again if it can't be trusted here.
fn install_unwinder(interval_bytes: u64) -> Unwinder {
    match try_frame_pointers(interval_bytes) {
        Ok(()) => Unwinder::FramePointer,
        Err(reason) => Unwinder::Default { reason },
    }
}

fn try_frame_pointers(interval_bytes: u64) -> Result<(), String> {
    if controls::serves_malloc() {
        return Err(
            "jemalloc replaces the C library's malloc, which the frame-pointer unwinder calls itself"
                .to_owned(),
        );
    }
    let default = controls::replace_unwinder(unwind::backtrace)
        .map_err(|error| format!("this jemalloc has no hook for an unwinder: {error}"))?;
    let verdict = finds_known_call(interval_bytes);
    if verdict.is_err() {
        let _ = controls::replace_unwinder(default);
    }
    verdict
}

const KNOWN_DEPTH: usize = 24;

/// Has an allocation sampled that is made at a known depth, and looks for its stack in a profile: the whole way from
/// the allocator through the hook to the text.
fn finds_known_call(interval_bytes: u64) -> Result<(), String> {
    // Left out of the sample with a probability of e^-32. Never written to, so it takes addresses, not memory.
    let bytes = usize::try_from(interval_bytes.saturating_mul(32)).unwrap_or(usize::MAX);
    let mut probe = Vec::<u8>::new();
    call_at_depth(KNOWN_DEPTH, &mut || _ = probe.try_reserve_exact(bytes));
    if black_box(&probe).capacity() == 0 {
        return Err(format!("no room to check frame pointers: {bytes} B could not be allocated"));
    }
    let profile = {
        let _unsampled = UnsampledThread::new();
        dump()?
    };
    let known = |addresses: &[u64]| addresses.chunk_by(|a, b| a == b).any(|run| run.len() == KNOWN_DEPTH);
    if profile.stacks.iter().any(|stack| known(&stack.addresses)) {
        return Ok(());
    }
    Err(format!(
        "a call of known depth ({KNOWN_DEPTH}) was not found by its frame pointers: build with `-C force-frame-pointers=yes`; \
         RUSTFLAGS in the environment replaces the flags of .cargo/config.toml"
    ))
}

/// Calls `f` below `depth` frames of itself with one and the same return address.
#[inline(never)]
fn call_at_depth(depth: usize, f: &mut dyn FnMut()) {
    if depth == 0 {
        f();
    } else {
        call_at_depth(black_box(depth) - 1, f);
    }
    black_box(()); // something left to do: a call in tail position needs no frame
}
