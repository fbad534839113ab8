//! A real cgroup with a limit, of whichever version this machine has. Where none may be made, it says so and passes.
#![cfg(target_os = "linux")]

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process,
};

use leakscope::{
    Instrument,
    memory::{self, Limit, LimitSource},
};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 96 * MIB;
const FOLDER: &str = "LEAKSCOPE_TEST_CGROUP";
const NAME: &str = "memory_cgroup::a_limit_is_seen_and_its_kills_are_counted";

/// A cgroup below the one of this process, with the limit; removed in the end.
struct Group {
    folder: PathBuf,
    source: LimitSource,
}

impl Group {
    /// An error says why there can be none.
    fn new() -> Result<Self, String> {
        let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let name = format!("leakscope-test-{}", process::id());
        let v1 = text.lines().find_map(|line| line.split_once(":memory:"));
        let (parent, limit_file, source) = match v1 {
            Some((_, path)) => (
                Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')),
                "memory.limit_in_bytes",
                LimitSource::CgroupV1,
            ),
            None => {
                let path = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("no cgroup")?;
                let parent = Path::new("/sys/fs/cgroup").join(path);
                fs::write(parent.join("cgroup.subtree_control"), "+memory")
                    .map_err(|error| format!("{}: {error}", parent.display()))?;
                (parent, "memory.max", LimitSource::CgroupV2)
            }
        };
        let folder = parent.join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let group = Self { folder, source };
        fs::write(group.folder.join(limit_file), LIMIT.to_string()).map_err(|error| error.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

#[test]
fn a_limit_is_seen_and_its_kills_are_counted() {
    match crate::support::role().as_deref() {
        Some("eats") => return eat(),
        Some("looks") => return look(),
        _ => {}
    }
    let group = match Group::new() {
        Ok(group) => group,
        Err(reason) => return eprintln!("not tested, no cgroup can be made here: {reason}"),
    };
    let folder = group.folder.to_str().expect("a path in UTF-8");
    let eater = crate::support::start(NAME, "eats", &[(FOLDER, folder)]);
    assert_eq!(eater.status.signal(), Some(libc::SIGKILL), "{eater:?}");
    let source = serde_json::to_string(&group.source).expect("it serializes");
    let looker = crate::support::start(NAME, "looks", &[(FOLDER, folder), ("SOURCE", &source)]);
    assert!(looker.status.success(), "{}", String::from_utf8_lossy(&looker.stderr));
}

/// Moves this process into the test's cgroup.
fn enter() {
    crate::support::no_huge_pages();
    let folder = env::var(FOLDER).expect("the test sets it");
    fs::write(Path::new(&folder).join("cgroup.procs"), process::id().to_string()).expect("it may be entered");
}

/// Allocates until killed.
fn eat() {
    enter();
    let eaten: Vec<_> = (0..4 * LIMIT / MIB).map(|_| std::hint::black_box(vec![1u8; MIB as usize])).collect();
    panic!("{} MiB were allowed", eaten.len());
}

fn look() {
    enter();
    let limit = memory::limit(None);
    assert_eq!(limit.bytes, Some(LIMIT));
    assert_eq!(serde_json::to_string(&limit.source).ok(), env::var("SOURCE").ok());
    assert_eq!(memory::limit(Some(LIMIT - 1)).source, LimitSource::Watcher);
    assert_eq!(memory::limit(Some(LIMIT + 1)), limit);

    let before = memory::report().cgroup.expect("there is a cgroup");
    assert_eq!(before.oom_kills, Some(1));
    let held = std::hint::black_box(vec![1u8; 32 << 20]);
    let after = memory::report().cgroup.expect("there is a cgroup");
    let grown = after.working_set_bytes.saturating_sub(before.working_set_bytes);
    assert!(grown.abs_diff(32 * MIB) < 2 * MIB, "the working set grew by {grown}");
    assert!(after.peak_bytes.is_none_or(|peak| peak >= after.usage_bytes));

    // What this process brought along is charged elsewhere: RSS is more than what counts against the limit.
    let usage = |limit| start(limit).latest();
    let (ours, rss) = (usage(limit), usage(Limit { bytes: None, source: LimitSource::None }));
    assert!(ours.usage_bytes.abs_diff(after.working_set_bytes) < MIB, "{ours:?}, {after:?}");
    assert_eq!(rss.usage_bytes, rss.rss_bytes);
    drop(held);
}

fn start(limit: Limit) -> Instrument {
    Instrument::builder().limit(limit).on_problem(|_| ()).start()
}
