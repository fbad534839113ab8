//! Whether a process is there, and since when.

use std::io;

/// What the kernel says of a process that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// When it started, in the kernel's own ticks; `None`: not Linux.
    pub start_ticks: Option<u64>,
    /// It has ended, and its parent has not waited for it: a zombie.
    pub has_ended: bool,
}

impl Life {
    /// Looks at a process now.
    #[cfg(target_os = "linux")]
    pub fn of(pid: u32) -> io::Result<Self> {
        let file = super::folder::of(std::path::Path::new("/"), pid).join("stat");
        let stat = std::fs::read_to_string(&file).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => no_such_process(pid),
            _ => io::Error::new(error.kind(), format!("{}: {error}", file.display())),
        })?;
        Self::parse(&stat).ok_or_else(|| io::Error::other(format!("{} is not understood", file.display())))
    }

    /// Looks at a process now.
    #[cfg(not(target_os = "linux"))]
    pub fn of(pid: u32) -> io::Result<Self> {
        let number = libc::pid_t::try_from(pid).map_err(|_| no_such_process(pid))?;
        // SAFETY: kill(2) with signal 0 sends nothing.
        let is_there = unsafe { libc::kill(number, 0) } == 0
            || io::Error::last_os_error().kind() == io::ErrorKind::PermissionDenied;
        if is_there { Ok(Self { start_ticks: None, has_ended: false }) } else { Err(no_such_process(pid)) }
    }

    /// Parses `/proc/PID/stat` (proc(5)): the state is field 3, the start is field 22.
    #[cfg(any(target_os = "linux", test))]
    fn parse(stat: &str) -> Option<Self> {
        // The name, in brackets, may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { start_ticks: Some(start_ticks), has_ended: matches!(state, "Z" | "X") })
    }
}

fn no_such_process(pid: u32) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_brackets_may_hold_anything() {
        let stat = |name: &str, state: &str| {
            format!("4711 ({name}) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 190000 20 21")
        };
        let life = |has_ended| Some(Life { start_ticks: Some(190_000), has_ended });
        for name in ["sleep", "a b", ") Z (", ""] {
            assert_eq!(Life::parse(&stat(name, "S")), life(false), "{name:?}");
            assert_eq!(Life::parse(&stat(name, "Z")), life(true), "{name:?}");
        }
        for garbage in ["", "4711", "4711 (x) S", "4711 (x) S 1 2 3"] {
            assert_eq!(Life::parse(garbage), None, "{garbage:?}");
        }
    }
}
