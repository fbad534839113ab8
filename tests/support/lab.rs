//! A lab: the service under its supervisor and a small limit.

use std::{
    cell::RefCell,
    process::{Child, Stdio},
    sync::mpsc,
};

use super::{PATIENCE, lines, serve};

/// `leaklab lab` on a free port with no simulated work. Killed when dropped, and its service with it.
pub struct Lab {
    child: Child,
    service_log: mpsc::Receiver<String>,
    /// Lines of the service's log, not yet handed out.
    early: RefCell<Vec<String>>,
    words: mpsc::Receiver<String>,
    /// The folder it was given as its data folder.
    pub data_dir: tempfile::TempDir,
}

impl Lab {
    /// Starts it with more arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = serve::leaklab();
        command
            .args(["lab", "--listen", "127.0.0.1:0", "--work-ms", "0", "--log-format", "json"])
            .args(arguments)
            .arg("--data-dir")
            .arg(data_dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let service_log = lines(child.stdout.take().expect("it is piped"));
        let words = lines(child.stderr.take().expect("it is piped"));
        Self { child, service_log, early: RefCell::default(), words, data_dir }
    }

    /// Waits until its service listens; `None`: the lab has ended before.
    pub fn url(&self) -> Option<String> {
        loop {
            let line = self.service_log.recv_timeout(PATIENCE).ok()?;
            let address = serve::address(&line);
            self.early.borrow_mut().push(line);
            if let Some(address) = address {
                return Some(format!("http://{address}"));
            }
        }
    }

    /// What its service has logged since it was last asked.
    pub fn log(&self) -> Vec<String> {
        self.early.take().into_iter().chain(self.service_log.try_iter()).collect()
    }

    /// Its words up to the one that holds `last`.
    pub fn words_until(&self, last: &str) -> String {
        let mut all = String::new();
        while !all.contains(last) {
            all += &self.words.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {last:?} in {all}"));
            all.push('\n');
        }
        all
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
