//! How tests and benches start the service: the one command line, and the log line that says where it listens.

use std::{net::SocketAddr, path::Path, process::Command};

use serde_json::Value;

/// `leaklab serve --no-limit` on a free port, with no simulated work and that data folder. It logs JSON.
pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leaklab"));
    command
        .args(["serve", "--no-limit", "--listen", "127.0.0.1:0", "--work-ms", "0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(data_dir);
    command
}

/// The address in the log line `{"message":"listening","address":"127.0.0.1:1234",...}`; `None`: another line.
pub fn address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "listening").then(|| line["address"].as_str()?.parse().ok())?
}
