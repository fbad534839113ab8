//! The limit where no cgroup can be made: a thread that samples the child's RSS and sends SIGKILL at the limit.
//!
//! It can't be as sharp as the kernel: what the child touches between two looks comes on top of the limit. How far
//! apart the looks really were, and by how much the limit was passed, is measured and told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use leakscope::proc::{Process, ResidentMemory};

use super::signals;

/// Pause between two looks: a third of the 10 ms that are promised, so that a late wake-up still keeps the promise. A look
/// takes a few microseconds.
const PAUSE: Duration = Duration::from_millis(3);

/// A thread that watches one process.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Watched>,
}

/// What a watcher saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watched {
    /// The reading at which it sent SIGKILL; `None`: it did not.
    pub killed_at_bytes: Option<u64>,
    /// Largest reading.
    pub peak_bytes: u64,
    /// Looks taken.
    pub looks: u64,
    /// Average time from one look to the next.
    pub mean_gap: Duration,
    /// Longest time from one look to the next.
    pub longest_gap: Duration,
}

impl Watcher {
    /// Watches a child of this process until it has ended or [`Watcher::stop`] is called.
    ///
    /// # Errors
    /// The child's memory can't be read here.
    pub fn start(pid: u32, limit_bytes: u64) -> std::io::Result<Self> {
        let resident = Process::of(pid)?.resident_memory()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("watcher".into()).spawn({
            let stop = Arc::clone(&stop);
            move || watch(&resident, pid, limit_bytes, &stop)
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and returns what it saw.
    pub fn stop(self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watcher does not panic")
    }
}

fn watch(resident: &ResidentMemory, pid: u32, limit_bytes: u64, stop: &AtomicBool) -> Watched {
    let started = Instant::now();
    let mut last_look = started;
    let mut watched = Watched {
        killed_at_bytes: None,
        peak_bytes: 0,
        looks: 0,
        mean_gap: Duration::ZERO,
        longest_gap: Duration::ZERO,
    };
    while !stop.load(Ordering::Relaxed) {
        // A process that has ended can't be read any more, or reads as 0.
        let Ok(bytes) = resident.bytes() else { break };
        let now = Instant::now();
        watched.looks += 1;
        watched.longest_gap = watched.longest_gap.max(now - last_look);
        watched.mean_gap = (now - started) / u32::try_from(watched.looks).unwrap_or(u32::MAX);
        watched.peak_bytes = watched.peak_bytes.max(bytes);
        last_look = now;
        if bytes >= limit_bytes {
            signals::send(pid, libc::SIGKILL);
            watched.killed_at_bytes = Some(bytes);
            break;
        }
        thread::sleep(PAUSE);
    }
    watched
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_process_that_passes_the_limit_is_killed() {
        // tail keeps the last N bytes of its input: a program that eats memory and is on every machine.
        let limit_bytes = 48 << 20;
        let mut eater = Command::new("tail")
            .args(["-c", "512M"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tail is there");
        let watcher = Watcher::start(eater.id(), limit_bytes).expect("a child can be watched");
        let mut food = eater.stdin.take().expect("standard input is piped");
        io::copy(&mut io::repeat(b'x').take(1 << 30), &mut food).expect_err("it dies while it eats");
        let status = eater.wait().expect("a child can be waited for");
        let watched = watcher.stop();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{watched:?}");
        let killed_at = watched.killed_at_bytes.expect("the watcher killed it");
        assert!(killed_at >= limit_bytes, "{watched:?}");
        assert_eq!(killed_at, watched.peak_bytes);
    }

    #[test]
    fn a_process_under_the_limit_is_left_alone_and_looked_at_often() {
        let mut idler = Command::new("sleep").arg("600").spawn().expect("sleep is there");
        let watcher = Watcher::start(idler.id(), 1 << 30).expect("a child can be watched");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(300) {
            thread::sleep(Duration::from_millis(10));
        }
        let watched = watcher.stop();
        assert!(idler.try_wait().expect("a child can be asked").is_none(), "it still runs");
        idler.kill().expect("a child can be killed");
        idler.wait().expect("a child can be waited for");
        assert_eq!(watched.killed_at_bytes, None);
        assert!(watched.peak_bytes > 0);
        // Others may hold the processors for a while, so the average is judged, not the worst.
        assert!(watched.mean_gap <= Duration::from_millis(10), "{watched:?}");
    }
}
