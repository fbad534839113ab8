//! How tests and benches start the service: the one command line, and the log line that says where it listens.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The program under test: the one that cargo built with this test, or the one that `LEAKLAB_TEST_BINARY` names.
pub fn binary() -> PathBuf {
    let named = env::var_os("LEAKLAB_TEST_BINARY").map(PathBuf::from);
    // Whole, since a test may start it in another folder.
    named.map_or_else(
        || env!("CARGO_BIN_EXE_leaklab").into(),
        |named| fs::canonicalize(&named).unwrap_or_else(|error| panic!("{}: {error}", named.display())),
    )
}

/// The program under test, as a command without arguments.
pub fn leaklab() -> Command {
    Command::new(binary())
}

/// `leaklab serve --no-limit` on a free port, with no simulated work and that data folder. It logs JSON.
pub fn command(data_dir: &Path) -> Command {
    let mut command = leaklab();
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
