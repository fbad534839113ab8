//! What the kernel says of any process: its memory, its mappings, its descriptors, and its cgroup, version 1 and 2.
//!
//! It reads files of `/proc` and of the cgroup file system, and parses them. It knows nothing of an allocator, of HTTP, or of
//! the program that it runs in.
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> std::io::Result<()> {
//! use leakscope::proc::Process;
//!
//! let process = Process::of(std::process::id())?;
//! println!("RSS is {} bytes", process.statm()?.rss_bytes);
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```

mod cgroup;
mod folder;
mod life;
mod maps;
mod pages;
mod process;
mod resident;
mod smaps;
mod statm;

pub use cgroup::{Cgroup, CgroupMemory, CgroupVersion, NoCgroup};
pub use maps::CodeMapping;
pub(crate) use pages::{PAGE, resident_in};
pub use process::Process;
pub use resident::ResidentMemory;
pub use smaps::{Backing, Mapping, Smaps};
pub use statm::Statm;
