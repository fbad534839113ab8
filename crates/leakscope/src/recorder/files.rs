//! Small files read and written as a whole, and the journal's time.

use std::{
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Reads a whole file, or nothing where there is none: what [`replace`] has written.
///
/// # Errors
/// It is there and can't be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file as a whole or not at all: through a draft beside it, which takes its place.
///
/// # Errors
/// The folder can't be written; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let replaced = fs::write(&draft, content).and_then(|()| fs::rename(&draft, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Now, in milliseconds since the Unix epoch: the journal's time.
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
