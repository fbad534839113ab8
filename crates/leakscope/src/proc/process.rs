//! One process, told apart from a later one with the same number, and what can be asked of it.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use super::{
    cgroup::{self, Cgroup, NoCgroup},
    folder,
    life::Life,
    maps::CodeMapping,
    resident::ResidentMemory,
    smaps::Smaps,
    statm::Statm,
};

/// A process: its number and its start, since the kernel gives numbers again.
///
/// A reading asks for the number alone. Where that matters, ask [`Self::is_alive`] after a reading: if it still holds, the
/// reading was of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pid: u32,
    start_ticks: Option<u64>,
}

impl Process {
    /// The process that has this number now. A zombie, which has ended and was not waited for, is one too.
    ///
    /// # Errors
    /// There is no such process, and the error says so.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start_ticks: Life::of(pid)?.start_ticks })
    }

    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self { pid, start_ticks: Life::of(pid).ok().and_then(|life| life.start_ticks) }
    }

    /// A process that was written down earlier by its number and its [`Self::start_ticks`], and may have ended since then.
    pub fn recorded(pid: u32, start_ticks: Option<u64>) -> Self {
        Self { pid, start_ticks }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When the kernel started it, in the kernel's own ticks since boot; `None` where the system does not say (not Linux).
    pub fn start_ticks(&self) -> Option<u64> {
        self.start_ticks
    }

    /// Whether it still runs: a process with its number is there, started when it did, and has not ended. A zombie is not
    /// alive. Where the start is not known, the number alone decides.
    pub fn is_alive(&self) -> bool {
        Life::of(self.pid).is_ok_and(|life| {
            !life.has_ended && self.start_ticks.is_none_or(|ticks| life.start_ticks == Some(ticks))
        })
    }

    /// Its sizes, in a few microseconds. A zombie's are 0.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub fn statm(&self) -> io::Result<Statm> {
        Statm::parse(&fs::read_to_string(self.folder().join("statm"))?)
    }

    /// A handle to read its resident size again and again. The handle stays with this process, whoever gets its number later.
    ///
    /// # Errors
    /// It has ended, or this system does not tell (neither Linux nor macOS).
    pub fn resident_memory(&self) -> io::Result<ResidentMemory> {
        ResidentMemory::of(self.pid)
    }

    /// Its mappings, and the sums over them. The kernel walks all its pages for that: milliseconds for each gigabyte.
    ///
    /// # Errors
    /// It has ended, it belongs to another user, or this is not Linux.
    pub fn smaps(&self) -> io::Result<Smaps> {
        Smaps::parse(BufReader::new(File::open(self.folder().join("smaps"))?))
    }

    /// The code that it has mapped, by address. Much cheaper than [`Self::smaps`]: no page is looked at.
    ///
    /// # Errors
    /// It has ended, it belongs to another user, or this is not Linux.
    pub fn code_mappings(&self) -> io::Result<Vec<CodeMapping>> {
        let maps = fs::read(self.folder().join("maps"))?;
        Ok(String::from_utf8_lossy(&maps).lines().filter_map(CodeMapping::parse).collect())
    }

    /// The ids of its threads.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub fn threads(&self) -> io::Result<Vec<u32>> {
        let tasks = fs::read_dir(self.folder().join("task"))?;
        Ok(tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// How many file descriptors it has open. For this process, the one that is open for the counting is left out.
    ///
    /// # Errors
    /// It has ended, it belongs to another user, or this is not Linux.
    pub fn open_descriptors(&self) -> io::Result<u64> {
        let listed = fs::read_dir(self.folder().join("fd"))?.count() as u64;
        let own = u64::from(self.pid == std::process::id());
        Ok(listed.saturating_sub(own))
    }

    /// The cgroup that it is in, in the hierarchy that can account memory. It need not account memory itself.
    ///
    /// # Errors
    /// It is in none that can be seen from here.
    pub fn cgroup(&self) -> Result<Cgroup, NoCgroup> {
        cgroup::own(Path::new("/"), self.pid)
    }

    /// The cgroup that accounts its memory: its own, or the nearest one above it with the memory controller.
    ///
    /// # Errors
    /// There is none that can be seen from here.
    pub fn memory_cgroup(&self) -> Result<Cgroup, NoCgroup> {
        cgroup::accounting(Path::new("/"), self.pid)
    }

    fn folder(&self) -> PathBuf {
        folder::of(Path::new("/"), self.pid)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{BufRead, ErrorKind, Write},
        process::{Child, Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::proc::smaps::Backing;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A shell that takes a step each time it is told to. Killed when dropped.
    struct Shell(Child);

    impl Shell {
        fn start(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
            Self(command.spawn().expect("sh is there"))
        }

        fn says(&mut self, expected: &str) {
            let mut line = String::new();
            let output = self.0.stdout.as_mut().expect("it is piped");
            BufReader::with_capacity(1, output).read_line(&mut line).expect("a line");
            assert_eq!(line.trim_end(), expected);
        }

        fn go_on(&mut self) {
            self.0.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("it reads");
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_child_is_read_while_it_runs() {
        let mut shell =
            Shell::start("echo ready; read go; exec 7</dev/null 8</dev/null; echo opened; read go");
        shell.says("ready");
        let child = Process::of(shell.0.id()).expect("it runs");
        assert!(child.is_alive());
        let this = Process::this();
        assert_ne!(child, this);
        assert!(child.start_ticks() >= this.start_ticks() && this.start_ticks().is_some());

        let statm = child.statm().expect("it runs");
        let smaps = child.smaps().expect("it is ours");
        assert!(statm.rss_bytes > 100 << 10 && statm.virtual_bytes > statm.rss_bytes, "{statm:?}");
        assert!(smaps.rss_bytes.abs_diff(statm.rss_bytes) < 1 << 20, "{statm:?}, {}", smaps.rss_bytes);
        assert!((1..=smaps.rss_bytes).contains(&smaps.pss_bytes));
        for backing in [Backing::File, Backing::MainStack] {
            assert!(smaps.mappings.iter().any(|mapping| mapping.backing == backing && mapping.rss_bytes > 0));
        }
        let code = child.code_mappings().expect("it is ours");
        let program = fs::read_link(format!("/proc/{}/exe", child.pid())).expect("it is ours");
        assert!(code.iter().any(|code| code.path == program && code.contains(code.start)), "{code:?}");
        let resident = child.resident_memory().expect("it runs");
        assert!(resident.bytes().expect("it runs").abs_diff(statm.rss_bytes) < 1 << 20);
        assert_eq!(child.threads().expect("it runs"), [child.pid()]);
        assert_eq!(child.cgroup().ok(), this.cgroup().ok());

        let before = child.open_descriptors().expect("it is ours");
        assert!(before >= 3, "{before}");
        shell.go_on();
        shell.says("opened");
        assert_eq!(child.open_descriptors().expect("it is ours"), before + 2);
    }

    #[test]
    fn a_child_that_was_killed_is_not_alive() {
        let mut shell = Shell::start("read go");
        let child = Process::of(shell.0.id()).expect("it runs");
        let resident = child.resident_memory().expect("it runs");
        let recorded = Process::recorded(child.pid(), child.start_ticks());
        assert!(recorded.is_alive());
        let later = child.start_ticks().map(|ticks| ticks + 1);
        assert!(!Process::recorded(child.pid(), later).is_alive(), "a later process with its number");

        shell.0.kill().expect("it is ours");
        let deadline = Instant::now() + PATIENCE;
        while child.is_alive() {
            assert!(Instant::now() < deadline, "a zombie is not alive");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Process::of(child.pid()).expect("nobody has waited for it"), child);
        assert_eq!(resident.bytes().expect("nobody has waited for it"), 0);
        shell.0.wait().expect("it is ours");
        assert!(!child.is_alive() && !recorded.is_alive());
        assert!(child.statm().is_err() && resident.bytes().is_err());
    }

    #[test]
    fn a_pid_that_does_not_exist_is_a_clear_error() {
        for pid in [0, 987_654_321, u32::MAX] {
            let error = Process::of(pid).expect_err("larger than any pid");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(error.to_string(), format!("there is no process {pid}"));
            assert!(!Process::recorded(pid, None).is_alive());
        }
    }
}
