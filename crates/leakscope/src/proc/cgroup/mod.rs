//! The memory cgroup of a process: where it is, and what it says of usage, limit and kills. Everything is found and read
//! below a root folder, so that a test can lay out any system as files.

mod handle;
mod locate;
#[cfg(test)]
mod tests;
mod version;

pub use handle::{Cgroup, CgroupMemory};
pub use locate::NoCgroup;
pub(super) use locate::{accounting, own};
pub use version::CgroupVersion;
