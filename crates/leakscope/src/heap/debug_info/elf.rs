//! An ELF file, mapped: its addresses, its sections, its build id, and the file that its debug information was moved to.

use std::{
    borrow::Cow,
    cell::Cell,
    ffi::OsStr,
    fs::File,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use flate2::bufread::ZlibDecoder;
use gimli::SectionId;
use memmap2::{Mmap, UncheckedAdvice};
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment};

/// Read between two times that pages go back to the system.
const RELEASE_AFTER_BYTES: usize = 1 << 20;
/// A compressed section that is larger unpacked is left alone: looking up must not take the memory that runs out.
const LARGEST_UNPACKED_BYTES: u64 = 32 << 20;
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// What functions and lines are found by. The other sections, of types and variables, stay packed.
const NEEDED: [SectionId; 9] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

pub(super) struct ElfFile {
    map: Mmap,
    read_bytes: Cell<usize>,
}

impl ElfFile {
    /// Maps a file; `None` where there is none, or none of this kind.
    ///
    /// It must not become shorter while it is mapped, or the process may end by SIGBUS. `cp` onto a file makes it shorter for a
    /// moment, `mv` does not. It is mapped all the same: a copy would take the memory that may be running out.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        // SAFETY: it is only read, and nobody may write to it for the short time of a look-up. The kernel refuses writes to the
        // program that runs. For files of debug information (`.debug`, `.dwp`, `.dwo`) it does not: whoever puts new ones in
        // their place has to use a new file, as linkers and package managers do. The README asks for that.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        object::File::parse(&*map).ok()?;
        Some(Self { map, read_bytes: Cell::new(0) })
    }

    pub(super) fn object(&self) -> object::File<'_> {
        object::File::parse(&*self.map).expect("parsed when it was opened")
    }

    /// Counts what is read, and gives its pages back from time to time.
    pub(super) fn count_read(&self, bytes: usize) {
        self.read_bytes.set(self.read_bytes.get() + bytes);
        if self.read_bytes.get() >= RELEASE_AFTER_BYTES {
            self.release_pages();
        }
    }

    pub(super) fn release_pages(&self) {
        self.read_bytes.set(0);
        // SAFETY: the mapping is never written to, so a page that is asked for again comes from the file as it was.
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }

    /// Places in the file as addresses; 0, where no code lies, for what is not loaded from it.
    pub(super) fn addresses(&self, file_offsets: &[u64]) -> Vec<u64> {
        let object = self.object();
        let address = |offset: u64| {
            object.segments().find_map(|segment| {
                let (start, length) = segment.file_range();
                let within = offset.checked_sub(start).filter(|&within| within < length)?;
                Some(segment.address() + within)
            })
        };
        file_offsets.iter().map(|&offset| address(offset).unwrap_or(0)).collect()
    }

    /// A section of debug information, unpacked, by the name that `name` gives it; empty where there is none, or none that
    /// can be read.
    ///
    /// # Errors
    /// None; the type is what [`gimli`] wants of a loader.
    pub(super) fn section(
        &self,
        id: SectionId,
        name: fn(SectionId) -> Option<&'static str>,
    ) -> gimli::Result<Cow<'_, [u8]>> {
        Ok(name(id).and_then(|name| unpacked(&self.object(), id, name)).unwrap_or_default())
    }

    /// The file that the debug information of this one, which lies at `path`, was moved to: found by build id or by the name
    /// that this one has for it, and taken only if it is of the same build.
    pub(super) fn debug_file(&self, path: &Path) -> Option<Self> {
        let object = self.object();
        if object.section_by_name(".debug_info").is_some() {
            return None;
        }
        let id = object.build_id().ok()??;
        let digits = hexadecimal(id);
        let (first, rest) = digits.split_at_checked(2)?;
        let mut places = vec![PathBuf::from(format!("{DEBUG_FOLDER}/.build-id/{first}/{rest}.debug"))];
        if let (Ok(Some((name, _))), Ok(path)) = (object.gnu_debuglink(), path.canonicalize())
            && let Some(folder) = path.parent()
        {
            let name = OsStr::from_bytes(name);
            let system: PathBuf =
                [Path::new(DEBUG_FOLDER), folder.strip_prefix("/").unwrap_or(folder)].iter().collect();
            places.extend([folder.join(name), folder.join(".debug").join(name), system.join(name)]);
        }
        places
            .iter()
            .filter_map(|place| Self::open(place))
            .find(|file| file.object().build_id() == Ok(Some(id)))
    }
}

fn unpacked<'a>(object: &object::File<'a>, id: SectionId, name: &str) -> Option<Cow<'a, [u8]>> {
    let section = object.section_by_name(name)?.compressed_data().ok()?;
    match section.format {
        CompressionFormat::None => Some(Cow::Borrowed(section.data)),
        CompressionFormat::Zlib
            if NEEDED.contains(&id) && section.uncompressed_size <= LARGEST_UNPACKED_BYTES =>
        {
            let mut bytes = Vec::new();
            ZlibDecoder::new(section.data).take(section.uncompressed_size).read_to_end(&mut bytes).ok()?;
            Some(Cow::Owned(bytes))
        }
        _ => None,
    }
}

/// A file's GNU build id as hexadecimal digits.
pub(in crate::heap) fn build_id(path: &Path) -> Option<String> {
    let file = ElfFile::open(path)?;
    file.object().build_id().ok()?.map(hexadecimal)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
