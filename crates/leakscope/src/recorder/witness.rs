//! What a supervising process saw of the end: only it knows the signal and the limit's counters for certain.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    cause::{Cause, is_fault},
    files::{make_folder, replace, unix_ms_now},
};

const NAME: &str = "supervisor.json";

/// What a supervising process saw of the recorded program's end. It writes this beside the journal before it starts the
/// program again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The process that ended.
    pub pid: u32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit code, if no signal did.
    pub exit_code: Option<i32>,
    /// Whether it was killed for its memory limit; `None`: it can't be told, as where the kernel does not count its kills.
    pub limit_kill: Option<bool>,
    /// Largest or last usage that was seen.
    pub usage_bytes: Option<u64>,
    /// How all this is known, for people.
    pub evidence: String,
}

/// With its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dated {
    /// When it was seen.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub witness: Witness,
}

impl Witness {
    /// The cause that this proves by itself; `None`: it has to be inferred from the samples.
    pub fn proves(&self) -> Option<Cause> {
        match (self.signal, self.exit_code, self.limit_kill) {
            (_, _, Some(true)) => Some(Cause::LimitKill),
            (Some(libc::SIGKILL), _, None) => None,
            (Some(signal), ..) if is_fault(signal) => Some(Cause::Crashed),
            (Some(_), ..) => Some(Cause::Killed),
            (None, Some(0), _) => Some(Cause::Stopped),
            (None, Some(_), _) => Some(Cause::Crashed),
            (None, None, _) => None,
        }
    }

    /// Writes it into the recorder's folder, as a whole or not at all.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let dated = Dated { unix_ms: unix_ms_now(), witness: self.clone() };
        make_folder(folder)?;
        replace(&folder.join(NAME), &serde_json::to_vec(&dated)?)
    }
}

/// The last one written, if it can be read.
pub(super) fn read(folder: &Path) -> Option<Dated> {
    serde_json::from_slice(&fs::read(folder.join(NAME)).ok()?).ok()
}
