//! The profiler's raw profile as a file, in the form that [`heap::read_profile`](crate::heap::read_profile) reads.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Write,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
};

use super::{
    Profiler,
    controls::{self, UnsampledThread},
};
use crate::heap::{Error, trailer};

impl Profiler {
    /// Writes the raw profile with its mappings and build id, without symbols: a few milliseconds and little memory. The
    /// file is whole or not there, and only its owner may read it. [`heap::read_profile`](crate::heap::read_profile) reads it.
    ///
    /// # Errors
    /// [`Error::Off`] where profiling is off; [`Error::Failed`] where the file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        if let Some(problem) = &self.status().problem {
            return Err(Error::Off(problem.clone()));
        }
        let draft = path.with_extension("draft");
        let written =
            write(&draft).and_then(|()| fs::rename(&draft, path).map_err(|error| error.to_string()));
        written.map_err(|error| {
            let _ = fs::remove_file(&draft);
            Error::Failed(format!("{}: {error}", path.display()))
        })
    }
}

fn write(path: &Path) -> Result<(), String> {
    let _unsampled = UnsampledThread::new();
    let trailer = trailer().map_err(|error| error.to_string())?;
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // jemalloc would make a file that everybody may read; one that is there keeps its mode.
    let private = File::options().create(true).append(true).mode(0o600).open(path);
    let mut file = private.map_err(|error| error.to_string())?;
    controls::dump(&name)?;
    file.write_all(trailer.as_bytes()).map_err(|error| error.to_string())
}
