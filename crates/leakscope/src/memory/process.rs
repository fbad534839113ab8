//! What the kernel says of this process and its cgroup, and what is lost where it does not say it. What the figures mean
//! together is [`super::reconcile`]'s.

use super::{Missing, ProcessMemory};
use crate::proc::{CgroupMemory, Mapping, NoCgroup, Process};

/// One reading of `/proc/self`.
pub(super) struct KernelReading {
    pub process: ProcessMemory,
    /// Empty where `smaps` can't be read.
    pub mappings: Vec<Mapping>,
    /// An address in the descriptor of each thread but the first.
    pub thread_descriptors: Vec<usize>,
    pub missing: Vec<Missing>,
}

/// Reads everything of the process. RSS and all that is derived from it come from one pass over `smaps`.
pub(super) fn read() -> KernelReading {
    let this = Process::this();
    let mut process = ProcessMemory { pid: this.pid(), ..ProcessMemory::default() };
    let mut missing = Vec::new();
    if let Ok(statm) = this.statm() {
        process.virtual_bytes = statm.virtual_bytes;
        process.rss_bytes = statm.rss_bytes;
        process.file_bytes = Some(statm.file_bytes);
        process.anonymous_bytes = Some(statm.rss_bytes.saturating_sub(statm.file_bytes));
    } else {
        missing.push(Missing {
            source: "/proc/self/statm",
            reason: "there is no Linux /proc here: no RSS, no parts; only the allocator's own figures".into(),
        });
        return KernelReading { process, mappings: Vec::new(), thread_descriptors: Vec::new(), missing };
    }
    let mappings = match this.smaps() {
        Ok(smaps) => {
            process.rss_bytes = smaps.rss_bytes;
            process.pss_bytes = Some(smaps.pss_bytes);
            process.anonymous_bytes = Some(smaps.anonymous_bytes);
            process.file_bytes = Some(smaps.rss_bytes - smaps.anonymous_bytes.min(smaps.rss_bytes));
            process.swap_bytes = Some(smaps.swap_bytes);
            smaps.mappings
        }
        Err(error) => {
            missing.push(Missing {
                source: "/proc/self/smaps",
                reason: format!(
                    "{error}: RSS is from statm; stacks and untouched memory are not told apart from unaccounted"
                ),
            });
            Vec::new()
        }
    };
    process.open_files = this.open_descriptors().ok();
    let threads = this.threads().unwrap_or_default();
    process.threads = (!threads.is_empty()).then_some(threads.len() as u64);
    let thread_descriptors =
        threads.into_iter().filter(|id| *id != process.pid).filter_map(thread_descriptor).collect();
    KernelReading { process, mappings, thread_descriptors, missing }
}

/// Reads the cgroup that accounts this process's memory.
pub(super) fn cgroup() -> Result<CgroupMemory, Missing> {
    let missing = |reason| Missing { source: "cgroup", reason };
    let cgroup = Process::this()
        .memory_cgroup()
        .map_err(|reason: NoCgroup| missing(format!("{reason}; no limit is seen")))?;
    cgroup.memory().map_err(|error| missing(error.to_string()))
}

/// The head of a thread's list of robust locks: it lies in the descriptor that glibc keeps at the top of its stack.
#[cfg(target_os = "linux")]
fn thread_descriptor(thread: u32) -> Option<usize> {
    let mut head = 0usize;
    let mut len = 0usize;
    // SAFETY: get_robust_list(2) of a thread of this process writes the two values that it is given.
    let status = unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut len) };
    (status == 0 && head != 0).then_some(head)
}

#[cfg(not(target_os = "linux"))]
fn thread_descriptor(_thread: u32) -> Option<usize> {
    None
}
