//! Small files read and written as a whole, what only the owner may read, and the journal's time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
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

/// Makes a folder, with those above it, that only its owner may enter; one that is there stays as it is.
///
/// # Errors
/// It can't be made.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// How to make a file that only its owner may read: what is recorded says much of the program. One that is there keeps its mode.
pub(super) fn private() -> OpenOptions {
    let mut options = File::options();
    options.create(true).mode(0o600);
    options
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// It can't be written.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    private().write(true).truncate(true).open(path)?.write_all(content)
}

/// Writes a file as a whole or not at all: through a draft beside it, which takes its place. Only its owner may read it.
///
/// # Errors
/// The folder can't be written; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let replaced = write(&draft, content).and_then(|()| fs::rename(&draft, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Now, in milliseconds since the Unix epoch: the journal's time.
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
