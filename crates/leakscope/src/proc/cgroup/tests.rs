//! Systems laid out as files: where cgroups are mounted, and what they say.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;

/// Larger than any pid, so surely not our own.
const PROCESS: u32 = 987_654_321;
const MIB: u64 = 1 << 20;
const V1_MOUNT: &str = "35 31 0:32 ROOT /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
const V2_MOUNT: &str = "41 31 0:38 ROOT /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
const OTHER_MOUNTS: &str =
    "23 1 254:0 / / rw - ext4 /dev/vda rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";

/// A system below a temporary folder.
struct System(TempDir);

impl System {
    /// One in which the process's `/proc/PID/cgroup` has this text, and one hierarchy is mounted with `root` as its topmost cgroup.
    fn new(cgroup: &str, mount: &str, root: &str) -> Self {
        let system = Self(tempfile::tempdir().expect("a temporary folder"));
        let mountinfo = format!("{OTHER_MOUNTS}{}\n", mount.replace("ROOT", root));
        system.file(&format!("proc/{PROCESS}/cgroup"), cgroup).file("proc/self/mountinfo", &mountinfo)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a path below the root")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn v1(self, folder: &str, usage: u64, inactive: u64, own_limit: u64, limit: u64) -> Self {
        let stat = format!(
            "cache 1\ninactive_file 7\nhierarchical_memory_limit {limit}\ntotal_inactive_file {inactive}\n"
        );
        self.file(&format!("{folder}/memory.usage_in_bytes"), &format!("{usage}\n"))
            .file(&format!("{folder}/memory.limit_in_bytes"), &format!("{own_limit}\n"))
            .file(&format!("{folder}/memory.max_usage_in_bytes"), &format!("{}\n", usage + 1))
            .file(&format!("{folder}/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
            .file(&format!("{folder}/memory.stat"), &stat)
    }

    fn v2(self, folder: &str, usage: u64, inactive: u64, limit: &str) -> Self {
        let stat = format!("anon 5\nfile 6\ninactive_anon 9\ninactive_file {inactive}\nactive_file 8\n");
        self.file(&format!("{folder}/memory.current"), &format!("{usage}\n"))
            .file(&format!("{folder}/memory.max"), &format!("{limit}\n"))
            .file(&format!("{folder}/memory.peak"), &format!("{}\n", usage + 1))
            .file(
                &format!("{folder}/memory.events"),
                "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 1\n",
            )
            .file(&format!("{folder}/memory.stat"), &stat)
    }

    fn accounting(&self) -> Result<Cgroup, NoCgroup> {
        accounting(self.0.path(), PROCESS)
    }

    #[track_caller]
    fn read(&self) -> CgroupMemory {
        let cgroup = self.accounting().unwrap_or_else(|reason| panic!("{reason}"));
        cgroup.memory().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The folder of the cgroup that accounts the process, below the root.
    #[track_caller]
    fn folder(&self) -> String {
        self.below_root(&self.accounting().unwrap_or_else(|reason| panic!("{reason}")))
    }

    /// The folder of the cgroup that the process is in, below the root.
    #[track_caller]
    fn own_folder(&self) -> String {
        self.below_root(&own(self.0.path(), PROCESS).unwrap_or_else(|reason| panic!("{reason}")))
    }

    #[track_caller]
    fn below_root(&self, cgroup: &Cgroup) -> String {
        cgroup.folder().strip_prefix(self.0.path()).expect("below the root").display().to_string()
    }
}

const V1_NONE: u64 = 9_223_372_036_854_771_712;

#[test]
fn version_1_reads_usage_limit_peak_and_kills() {
    let cgroup = System::new("4:memory:/lab/one\n1:cpu:/\n", V1_MOUNT, "/")
        .v1("sys/fs/cgroup/memory/lab/one", 100 * MIB, 30 * MIB, 256 * MIB, 256 * MIB)
        .read();
    assert_eq!(cgroup.version, 1);
    assert_eq!(cgroup.usage_bytes, 100 * MIB);
    assert_eq!(cgroup.working_set_bytes, 70 * MIB, "less total_inactive_file");
    assert_eq!(cgroup.peak_bytes, Some(100 * MIB + 1));
    assert_eq!(cgroup.limit_bytes, Some(256 * MIB));
    assert_eq!(cgroup.oom_kills, Some(3));
}

#[test]
fn version_1_inherits_the_limit_and_knows_none() {
    let limit = |own, inherited| {
        System::new("4:memory:/a\n", V1_MOUNT, "/")
            .v1("sys/fs/cgroup/memory/a", MIB, 0, own, inherited)
            .read()
            .limit_bytes
    };
    assert_eq!(limit(V1_NONE, V1_NONE), None);
    assert_eq!(limit(V1_NONE, 64 * MIB), Some(64 * MIB), "an ancestor's");
    assert_eq!(limit(128 * MIB, 64 * MIB), Some(64 * MIB), "the smaller one");
    assert_eq!(limit(32 * MIB, V1_NONE), Some(32 * MIB), "its own, where ancestors don't count");
}

#[test]
fn version_1_shares_a_mount_with_other_controllers() {
    let mount = "35 31 0:32 / /sys/fs/cgroup/cpu,memory rw - cgroup cgroup rw,cpu,memory";
    let system = System::new("4:cpu,memory:/a\n0::/\n", mount, "/").v1(
        "sys/fs/cgroup/cpu,memory/a",
        MIB,
        0,
        V1_NONE,
        V1_NONE,
    );
    assert_eq!(system.folder(), "sys/fs/cgroup/cpu,memory/a");
}

#[test]
fn version_2_reads_usage_limit_peak_and_kills() {
    let cgroup = System::new("0::/lab/one\n", V2_MOUNT, "/")
        .v2("sys/fs/cgroup/lab/one", 100 * MIB, 30 * MIB, "268435456")
        .read();
    assert_eq!(cgroup.version, 2);
    assert_eq!(cgroup.usage_bytes, 100 * MIB);
    assert_eq!(cgroup.working_set_bytes, 70 * MIB);
    assert_eq!(cgroup.peak_bytes, Some(100 * MIB + 1));
    assert_eq!(cgroup.limit_bytes, Some(256 * MIB));
    assert_eq!(cgroup.oom_kills, Some(3), "not oom, not oom_group_kill");
}

#[test]
fn version_2_takes_the_smallest_limit_of_its_ancestors() {
    let system = System::new("0::/a/b/c\n", V2_MOUNT, "/")
        .v2("sys/fs/cgroup/a", MIB, 0, "134217728")
        .v2("sys/fs/cgroup/a/b", MIB, 0, "max")
        .v2("sys/fs/cgroup/a/b/c", MIB, 0, "268435456");
    assert_eq!(system.read().limit_bytes, Some(128 * MIB));
    let system = System::new("0::/a\n", V2_MOUNT, "/").v2("sys/fs/cgroup/a", MIB, 0, "max");
    assert_eq!(system.read().limit_bytes, None);
}

#[test]
fn version_2_without_a_peak_is_read_all_the_same() {
    let system = System::new("0::/a\n", V2_MOUNT, "/").v2("sys/fs/cgroup/a", MIB, 0, "max");
    fs::remove_file(system.0.path().join("sys/fs/cgroup/a/memory.peak")).expect("it was there");
    assert_eq!(system.read().peak_bytes, None);
}

#[test]
fn a_cgroup_without_the_controller_is_accounted_to_its_ancestor() {
    let system = System::new("0::/user/session/scope\n", V2_MOUNT, "/")
        .v2("sys/fs/cgroup/user", MIB, 0, "134217728")
        .file("sys/fs/cgroup/user/session/scope/cgroup.procs", &format!("{PROCESS}\n"));
    assert_eq!(system.folder(), "sys/fs/cgroup/user");
    assert_eq!(system.read().limit_bytes, Some(128 * MIB));
    assert_eq!(system.own_folder(), "sys/fs/cgroup/user/session/scope");
}

#[test]
fn the_memory_controller_decides_between_the_versions_of_a_hybrid_system() {
    let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let v1 = V1_MOUNT.replace("ROOT", "/");
    let system = System::new("4:memory:/a\n0::/\n", &format!("{v2}{v1}"), "/")
        .v1("sys/fs/cgroup/memory/a", MIB, 0, V1_NONE, V1_NONE)
        .file("sys/fs/cgroup/unified/cgroup.procs", &format!("{PROCESS}\n"));
    assert_eq!(system.read().version, 1);
    let system =
        System::new("1:name=systemd:/x\n0::/a\n", v2, "/").v2("sys/fs/cgroup/unified/a", MIB, 0, "max");
    assert_eq!(system.read().version, 2);
}

#[test]
fn a_container_with_a_namespace_sees_itself_as_the_root() {
    let system = System::new("0::/\n", V2_MOUNT, "/").v2("sys/fs/cgroup", MIB, 0, "268435456");
    assert_eq!(system.folder(), "sys/fs/cgroup");
    assert_eq!(system.read().limit_bytes, Some(256 * MIB));
}

#[test]
fn a_container_without_a_namespace_has_its_subtree_mounted() {
    let system = System::new("4:memory:/docker/abc/inner\n", V1_MOUNT, "/docker/abc")
        .v1("sys/fs/cgroup/memory", 2, 0, V1_NONE, V1_NONE)
        .v1("sys/fs/cgroup/memory/inner", 1, 0, V1_NONE, V1_NONE);
    assert_eq!(system.folder(), "sys/fs/cgroup/memory/inner");
}

#[test]
fn a_path_outside_of_the_mount_counts_only_if_the_process_is_there() {
    let system = |path: &str, root, processes: &str| {
        System::new(&format!("0::{path}\n"), V2_MOUNT, root)
            .v2("sys/fs/cgroup", MIB, 0, "268435456")
            .file("sys/fs/cgroup/cgroup.procs", processes)
    };
    for (path, root) in [("/../..", "/"), ("/../sibling", "/"), ("/", "/.."), ("/docker/abc", "/kubepods/x")]
    {
        assert_eq!(
            system(path, root, &format!("1\n{PROCESS}\n")).folder(),
            "sys/fs/cgroup",
            "{path} under {root}"
        );
        let reason = system(path, root, "1\n").accounting().expect_err(path).to_string();
        assert!(reason.contains(path), "{reason}");
    }
}

#[test]
fn a_mount_of_more_of_the_hierarchy_is_preferred() {
    let mounts = format!(
        "{}\n{}",
        V2_MOUNT.replace("ROOT", "/a/b").replace("/sys/fs/cgroup", "/inner"),
        V2_MOUNT.replace("ROOT", "/")
    );
    let system = System::new("0::/a/b\n", &mounts, "/")
        .v2("inner", MIB, 0, "max")
        .v2("sys/fs/cgroup/a", MIB, 0, "134217728")
        .v2("sys/fs/cgroup/a/b", MIB, 0, "max");
    assert_eq!(system.folder(), "sys/fs/cgroup/a/b");
    assert_eq!(system.read().limit_bytes, Some(128 * MIB));
}

#[test]
fn a_mount_point_may_have_spaces() {
    let mount = "41 31 0:38 / /mnt/my\\040groups rw - cgroup2 none rw";
    let system = System::new("0::/a\n", mount, "/").v2("mnt/my groups/a", MIB, 0, "max");
    assert_eq!(system.folder(), "mnt/my groups/a");
}

#[test]
fn usage_is_the_cgroups_only_with_its_own_limit_and_nobody_else_in_it() {
    let is_ours = |own: &str, above: &str, processes: &str| {
        System::new("0::/a/b\n", V2_MOUNT, "/")
            .v2("sys/fs/cgroup/a", MIB, 0, above)
            .v2("sys/fs/cgroup/a/b", MIB, 0, own)
            .file("sys/fs/cgroup/a/b/cgroup.procs", processes)
            .accounting()
            .expect("a cgroup")
            .is_of_only(PROCESS)
    };
    assert!(is_ours("268435456", "max", &format!("{PROCESS}\n")));
    assert!(!is_ours("max", "max", &format!("{PROCESS}\n")), "no limit");
    assert!(!is_ours("268435456", "134217728", &format!("{PROCESS}\n")), "an ancestor's limit is smaller");
    assert!(!is_ours("268435456", "max", &format!("{PROCESS}\n99\n")), "another process");
    assert!(!is_ours("268435456", "max", "99\n"), "only another process");
}

#[test]
fn the_working_set_is_never_negative() {
    let system = System::new("0::/a\n", V2_MOUNT, "/").v2("sys/fs/cgroup/a", 10, 20, "max");
    assert_eq!(system.read().working_set_bytes, 0);
    assert_eq!(system.accounting().expect("a cgroup").working_set_bytes(), Some(0));
}

#[test]
fn no_cgroup_says_what_is_missing() {
    let nothing = tempfile::tempdir().expect("a temporary folder");
    let reason = |root: &Path| accounting(root, PROCESS).expect_err("there is none").to_string();
    assert!(reason(nothing.path()).contains(&format!("/proc/{PROCESS}/cgroup")));
    let system = System::new("1:cpu:/\n", V1_MOUNT, "/");
    assert!(reason(system.0.path()).contains("no memory cgroup"));
    let root_of_all =
        System::new("0::/\n", V2_MOUNT, "/").file("sys/fs/cgroup/cgroup.procs", &format!("{PROCESS}\n"));
    assert!(reason(root_of_all.0.path()).contains("no memory controller"));
}

#[test]
fn garbage_is_no_panic() {
    for text in ["", "\n\n", "a", "::", "0:", "4:memory", "\u{0}:memory:\u{0}"] {
        let system = System::new(text, text, "/");
        assert!(system.accounting().is_err());
    }
    let system = System::new("0::/a\n", V2_MOUNT, "/")
        .v2("sys/fs/cgroup/a", MIB, 0, "lots")
        .file("sys/fs/cgroup/a/memory.current", "much\n");
    let error = system.accounting().expect("a folder").memory().expect_err("no number");
    assert!(error.to_string().contains("memory.current"));
}

/// The supervisor makes a cgroup below its own one, wherever that is.
#[test]
fn its_own_cgroup_is_found_in_each_kind_of_system() {
    let scope = "user.slice/user-1000.slice/session-3.scope";
    let system = System::new(&format!("0::/{scope}\n"), V2_MOUNT, "/")
        .file(&format!("sys/fs/cgroup/{scope}/cgroup.procs"), "");
    assert_eq!(system.own_folder(), format!("sys/fs/cgroup/{scope}"));
    let system = System::new("0::/\n", V2_MOUNT, "/").file("sys/fs/cgroup/cgroup.procs", "");
    assert_eq!(system.own_folder(), "sys/fs/cgroup", "the root of all, which accounts nothing");
    let system = System::new("4:memory:/user.slice\n3:cpu,cpuacct:/\n0::/\n", V1_MOUNT, "/")
        .file("sys/fs/cgroup/memory/user.slice/cgroup.procs", "");
    assert_eq!(system.own_folder(), "sys/fs/cgroup/memory/user.slice");
    let v2 = "50 32 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    let hybrid = format!("{v2}\n{V1_MOUNT}");
    let system = System::new("4:memory:/a\n0::/b\n", &hybrid, "/")
        .file("sys/fs/cgroup/memory/a/cgroup.procs", "")
        .file("sys/fs/cgroup/unified/b/cgroup.procs", "");
    assert_eq!(system.own_folder(), "sys/fs/cgroup/memory/a", "the version with the memory controller");
    let system = System::new("0::/gone\n", V2_MOUNT, "/");
    assert!(own(system.0.path(), PROCESS).expect_err("no folder").to_string().contains("/gone"));
}

#[test]
fn in_a_container_the_path_starts_at_the_mounts_root() {
    let own_folder = |path: &str| {
        System::new(&format!("4:memory:{path}\n"), V1_MOUNT, "/docker/abc")
            .file("sys/fs/cgroup/memory/inner/cgroup.procs", "")
            .own_folder()
    };
    assert_eq!(own_folder("/docker/abc"), "sys/fs/cgroup/memory");
    assert_eq!(own_folder("/docker/abc/inner"), "sys/fs/cgroup/memory/inner");
}

#[test]
fn parents_end_at_the_mount() {
    let system = System::new("0::/a/b\n", V2_MOUNT, "/").file("sys/fs/cgroup/a/b/cgroup.procs", "");
    let cgroup = own(system.0.path(), PROCESS).expect("a folder");
    let parent = cgroup.parent().and_then(|a| a.parent()).expect("two levels below the mount");
    assert_eq!(parent.folder(), cgroup.mount());
    assert_eq!(parent.parent(), None);
    assert_eq!(parent.child("a").child("b"), cgroup);
}

#[test]
fn its_processes_are_listed_and_its_kills_counted_in_both_formats() {
    let v2 = System::new("0::/a\n", V2_MOUNT, "/")
        .v2("sys/fs/cgroup/a", MIB, 0, "max")
        .file("sys/fs/cgroup/a/cgroup.procs", "12\n34\n");
    let cgroup = v2.accounting().expect("a cgroup");
    assert_eq!(cgroup.processes().expect("it can be read"), [12, 34]);
    assert_eq!(cgroup.oom_kills(), Some(3));
    let v1 = System::new("4:memory:/a\n", V1_MOUNT, "/")
        .v1("sys/fs/cgroup/memory/a", MIB, 0, V1_NONE, V1_NONE)
        .file("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
    assert_eq!(v1.accounting().expect("a cgroup").oom_kills(), None, "before Linux 4.13");
}
