//! The `leaklab` binary: allocator, exit code, nothing else.

use std::process::ExitCode;

#[cfg(not(feature = "dhat-heap"))]
leakscope::jemalloc!();

#[cfg(feature = "dhat-heap")]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    #[cfg(feature = "dhat-heap")]
    let _profiler = dhat::Profiler::new_heap();
    leaklab::cli::run()
}
