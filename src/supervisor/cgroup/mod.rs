//! A memory cgroup for one life of the service: where it can be made, how it is limited, and how leftovers are removed.
//!
//! What a cgroup says is read by `leakscope::proc`; only what changes cgroups is here.

mod limited;
mod parent;
mod sweep;

pub use limited::LimitedCgroup;
pub use parent::CgroupParent;
