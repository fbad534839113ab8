//! A raw profile as a file: written in a moment, when memory runs out; read and symbolized later, by the same build.
//!
//! It is jemalloc's own text, as `jeprof` reads it too, and one line more that names the build. A file without that line
//! was never finished.

use std::{
    env,
    fmt::Display,
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    Error, Snapshot, debug_info,
    estimate::Estimate,
    parse::{self, RawProfile},
    pprof_file::read_pprof,
    snapshot::Stack,
    symbolize::Symbols,
};

/// Begins the line after jemalloc's; no line of /proc/self/maps looks so.
const TRAILER: &str = "LEAKSCOPE: ";
/// More than a trailer ever has.
const LONGEST_TRAILER_BYTES: u64 = 16 << 10;

/// What the last line says.
#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    build_id: String,
    executable: PathBuf,
    taken_at_unix_ms: u64,
}

/// The build that runs: the GNU build id of the program's file, as hexadecimal digits; where its linker left none, the
/// file's size and time.
pub fn build_id() -> &'static str {
    static BUILD_ID: LazyLock<String> = LazyLock::new(|| {
        let program = Path::new("/proc/self/exe");
        let program = if program.exists() { program.to_owned() } else { executable() };
        debug_info::build_id(&program).unwrap_or_else(|| {
            let file = fs::metadata(program).ok();
            let modified = file.as_ref().and_then(|file| file.modified().ok()).unwrap_or(UNIX_EPOCH);
            format!("no-build-id-{}-{}", file.map_or(0, |file| file.len()), unix_ms(modified))
        })
    });
    &BUILD_ID
}

/// What is written after jemalloc's text once that is whole.
#[cfg(feature = "jemalloc")]
pub(crate) fn trailer() -> serde_json::Result<String> {
    let trailer = Trailer {
        build_id: build_id().to_owned(),
        executable: executable(),
        taken_at_unix_ms: unix_ms(SystemTime::now()),
    };
    // jemalloc's text ends where the kernel's list of mappings does, in a newline; a copy that was cut short may not.
    Ok(format!("\n{TRAILER}{}\n", serde_json::to_string(&trailer)?))
}

/// Reads a profile that `jemalloc::Profiler::save` wrote, and looks its addresses up in this program. Takes about as long as a
/// first snapshot, and megabytes meanwhile.
///
/// # Errors
/// [`Error::Failed`]: it can't be read, was never finished, or is of another build, whose addresses mean other lines; the
/// message names both builds.
pub fn read_profile(path: &Path) -> Result<Snapshot, Error> {
    let failed = |error: String| Error::Failed(format!("{}: {error}", path.display()));
    let trailer = read_trailer(path).map_err(failed)?;
    if trailer.build_id != build_id() {
        return Err(failed(format!(
            "this profile is of another build, {} ({}), and this program is build {}: read it with the program that wrote it",
            trailer.build_id,
            trailer.executable.display(),
            build_id()
        )));
    }
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut profile = parse::parse(BufReader::new(file)).map_err(failed)?;
    // The same build may lie elsewhere by now.
    let executable = executable();
    for mapping in &mut profile.mappings {
        if mapping.path == trailer.executable {
            mapping.path.clone_from(&executable);
        }
    }
    Ok(symbolized(profile, UNIX_EPOCH + Duration::from_millis(trailer.taken_at_unix_ms)))
}

/// Reads a profile of either kind, as [`read_profile`] or as [`read_pprof`](super::read_pprof) does, such that any two can
/// be compared, also of two runs: what a frame says stands for its address.
///
/// # Errors
/// Those of the two; the message names the file.
pub fn read_saved(path: &Path) -> Result<Snapshot, Error> {
    let failed = |error: &dyn Display| Error::Failed(format!("{}: {error}", path.display()));
    let saved = fs::read(path).map_err(|error| failed(&error))?;
    let pprof = match saved.starts_with(&GZIP) {
        true => saved,
        false => read_profile(path)?.to_pprof(),
    };
    read_pprof(&pprof).map_err(|error| failed(&error))
}

/// Begins any gzipped file (RFC 1952), and no raw profile.
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn symbolized(profile: RawProfile, taken_at: SystemTime) -> Snapshot {
    let traces = Symbols::new(|| ()).traces(&profile.stacks, &profile.mappings);
    let stack = |(raw, trace): (&parse::RawStack, Arc<_>)| Stack {
        trace,
        live: Estimate::new(raw.samples, raw.bytes, profile.interval_bytes),
        taken: None,
    };
    let stacks = profile.stacks.iter().zip(traces).map(stack).collect();
    Snapshot::new(taken_at, profile.interval_bytes, stacks, profile.mappings)
}

fn read_trailer(path: &Path) -> Result<Trailer, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_TRAILER_BYTES)))
        .and_then(|_| file.read_to_end(&mut end))
        .map_err(|error| error.to_string())?;
    let end = String::from_utf8_lossy(&end);
    let trailer = end.lines().rev().find_map(|line| line.strip_prefix(TRAILER));
    let trailer = trailer.ok_or("not a profile of leakscope's, or one that was cut short")?;
    serde_json::from_str(trailer).map_err(|error| format!("its last line: {error}"))
}

/// The program's path, as /proc/self/maps has it.
fn executable() -> PathBuf {
    env::current_exe().unwrap_or_default()
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
