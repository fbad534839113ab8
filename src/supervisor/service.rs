//! One life of the service: a child process that can't outlive us, with its output passed on.

use std::{
    io, os::unix::process::ExitStatusExt, process::ExitStatus, process::Stdio, sync::Arc, time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
};

use super::{console::Console, enforcer::LimitGuard, lifeline::Supervised, plan::LabPlan, signals};

/// How long the service may take to answer what it has begun, once it was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long the rest of a dead child's output is waited for: something else may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running child. Killed when dropped.
pub struct ServiceProcess {
    child: Child,
    pid: u32,
    /// Nothing is written to it. It closes when we are gone, and the child ends then.
    _lifeline: Option<ChildStdin>,
    output: Vec<JoinHandle<()>>,
}

impl ServiceProcess {
    /// Starts the child inside the guard's limit. To be called on the main thread: the signal that the kernel sends at
    /// the parent's death is sent when the *thread* that started the child ends.
    ///
    /// # Errors
    /// The program can't be started, or it could not enter its cgroup.
    pub fn start(plan: &LabPlan, guard: &LimitGuard, console: &Arc<Console>) -> io::Result<Self> {
        let mut command = Command::new(&plan.program);
        command
            .args(&plan.arguments)
            .env(Supervised::VARIABLE, guard.told_to_child().value())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches the foreground group: us. The child is told by SIGTERM, once.
            .process_group(0)
            .kill_on_drop(true);
        let entrance = guard.entrance()?;
        let parent = std::process::id();
        let before_exec = move || {
            if let Some(mut entrance) = entrance.as_ref() {
                io::Write::write_all(&mut entrance, b"0")?;
            }
            die_with_parent_process(parent)
        };
        // SAFETY: between fork and exec only async-signal-safe calls are made: write, prctl, getppid, on values that were
        // made before the fork; nothing is allocated or locked.
        unsafe { command.pre_exec(before_exec) };
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the child has no pid"))?;
        let output = [
            child.stdout.take().map(|stream| pass_on(stream, Arc::clone(console), Console::stdout)),
            child.stderr.take().map(|stream| pass_on(stream, Arc::clone(console), Console::stderr)),
        ];
        // Taken out of the child, since waiting for a child closes its standard input.
        Ok(Self { _lifeline: child.stdin.take(), child, pid, output: output.into_iter().flatten().collect() })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end and for the rest of its output. Can be cancelled and called again.
    ///
    /// # Errors
    /// The kernel can't tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        while let Some(task) = self.output.last_mut() {
            let _ = tokio::time::timeout(LAST_WORDS, task).await;
            self.output.pop();
        }
        Ok(status)
    }

    /// SIGTERM, and SIGKILL to what has not ended after [`GRACE`] or once `hurry` is ready. Returns whether it ended by
    /// itself.
    ///
    /// # Errors
    /// The kernel can't tell.
    pub async fn stop(&mut self, hurry: impl Future) -> io::Result<bool> {
        signals::send(self.pid, libc::SIGTERM);
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(GRACE) => {}
                _ = hurry => {}
            }
        };
        tokio::select! {
            status = self.ended() => return status.map(|status| status.signal() != Some(libc::SIGKILL)),
            () = patience => {}
        }
        self.child.start_kill()?;
        self.ended().await?;
        Ok(false)
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent_process(parent: u32) -> io::Result<()> {
    // SAFETY: prctl(2) with PR_SET_PDEATHSIG takes a signal number and changes this process only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died before the call above: then nobody would send that signal any more.
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent_process(_parent: u32) -> io::Result<()> {
    // Other systems have no such signal; there the lifeline alone has to do.
    Ok(())
}

/// Copies whole lines, whatever bytes are in them.
fn pass_on(
    stream: impl AsyncRead + Unpin + Send + 'static,
    console: Arc<Console>,
    write: fn(&Console, &[u8]),
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line).await, Ok(length) if length > 0) {
            write(&console, &line);
            line.clear();
        }
    })
}
