//! What a program's file says of its addresses: functions, those that were inlined too, with file and line.
//!
//! All addresses wanted are known at the start, so no table is built of the others: the symbol table and each unit's line
//! program and functions are read once, from front to back, and only what covers a wanted address is kept; units that cover
//! none are passed over. The file is mapped, and its pages go back to the system as reading goes on: looking up costs
//! the memory of a unit or two, however large the file is. Knows nothing of profiles, nor whose code a frame is.
//!
//! DWARF 4 and 5, also packed by zlib, split off (`program.dwp`, `unit.dwo`) or moved away (`.gnu_debuglink`, build id). What
//! is packed by zstd is left alone: names without lines.

use std::{ops::Range, path::Path};

use gimli::{DwarfSections, EndianSlice, NativeEndian, UnitRef};

mod elf;
mod functions;
mod lines;
mod names;
mod split;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub(super) use elf::build_id;

use elf::ElfFile;
use functions::Functions;
use lines::Lines;

type Reader<'a> = EndianSlice<'a, NativeEndian>;
type Unit<'a> = gimli::Unit<Reader<'a>>;
type UnitHeader<'a> = gimli::UnitHeader<Reader<'a>>;
type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;

/// A line of a file: the file's number in its unit, `None` where unknown, and the line, 0 where unknown.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    file: Option<u64>,
    line: u32,
}

/// How much to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// The functions' names, from the symbol table.
    Names,
    /// Inlined functions, files and lines too.
    Lines,
}

/// Looks up places in a file's code, in rising order. Each gets its frames, innermost first, inlined functions before the
/// one they are inlined in; none where the file says nothing of it. `frame` makes a frame of a function and a file, `None`
/// where unknown, and a line, 0 where unknown.
pub(super) fn look_up<F>(
    path: &Path,
    file_offsets: &[u64],
    detail: Detail,
    mut frame: impl FnMut(Option<&str>, Option<&Path>, u32) -> F,
) -> Vec<Vec<F>> {
    let mut found: Vec<Vec<F>> = file_offsets.iter().map(|_| Vec::new()).collect();
    let Some(program) = ElfFile::open(path) else { return found };
    let addresses = program.addresses(file_offsets);
    let apart = (detail == Detail::Lines).then(|| program.debug_file(path)).flatten();
    let file = apart.as_ref().unwrap_or(&program);
    let names = names::names(file, &addresses);
    if detail == Detail::Lines {
        add_lines(file, path, &addresses, &names, &mut found, &mut frame);
    }
    for (frames, name) in found.iter_mut().zip(names) {
        if let (true, Some(name)) = (frames.is_empty(), name) {
            frames.push(frame(Some(&name), None, 0));
        }
    }
    found
}

/// Adds the frames of all addresses that the debug information in `file` covers; `program` is what it is of.
fn add_lines<F>(
    file: &ElfFile,
    program: &Path,
    addresses: &[u64],
    names: &[Option<String>],
    found: &mut [Vec<F>],
    frame: &mut impl FnMut(Option<&str>, Option<&Path>, u32) -> F,
) {
    let sections = DwarfSections::load(|id| file.section(id, |id| Some(id.name())));
    let Ok(sections): gimli::Result<_> = sections else { return };
    let dwarf = sections.borrow(|section| EndianSlice::new(section, NativeEndian));
    let mut headers = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        file.count_read(header.length_including_self());
        headers.push(header);
    }
    for header in &headers {
        file.count_read(header.length_including_self());
        // A unit that can't be read leaves its addresses with their names.
        let Ok(unit) = dwarf.unit(*header) else { continue };
        let unit = UnitRef::new(&dwarf, &unit);
        let Ok(ranges) = unit.unit_ranges() else { continue };
        let covered = ranges.map_while(Result::ok).flat_map(|range| within(addresses, range));
        let mut wanted: Vec<usize> = covered.filter(|&index| found[index].is_empty()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            continue;
        }
        let addresses: Vec<u64> = wanted.iter().map(|&index| addresses[index]).collect();
        let lines = Lines::read(unit, &addresses);
        let functions = split::functions(unit, &headers, program, &addresses);
        for (position, index) in wanted.into_iter().enumerate() {
            found[index] = frames(unit, &lines, &functions, position, names[index].as_deref(), frame);
        }
    }
}

/// Which of the addresses, which rise, lie in a range.
fn within(addresses: &[u64], range: gimli::Range) -> Range<usize> {
    // Linkers leave the debug information of functions that they dropped, at address 0: no code ever lies there.
    if range.begin == 0 || range.end <= range.begin {
        return 0..0;
    }
    let before = |end: u64| addresses.partition_point(|&address| address < end);
    let start = before(range.begin);
    start..before(range.end).max(start)
}

/// The frames of one address, innermost first. The line table says where the innermost stands; where each other one stands
/// is known from the one inlined in it. `name` is the symbol table's, which has the whole path where line tables have not.
fn frames<'a, F>(
    unit: UnitRef<'_, Reader<'a>>,
    lines: &Lines<'a>,
    functions: &Functions,
    position: usize,
    name: Option<&str>,
    frame: &mut impl FnMut(Option<&str>, Option<&Path>, u32) -> F,
) -> Vec<F> {
    let mut frames = Vec::new();
    let mut place = lines.places[position];
    let mut next = functions.innermost[position];
    while let Some(function) = next.map(|index| &functions.all[index]) {
        let name = if function.caller.is_none() { name } else { None };
        frames.push(frame(name.or(function.name.as_deref()), lines.path(unit, place).as_deref(), place.line));
        (place, next) = (function.call, function.caller);
    }
    if frames.is_empty() && place.file.is_some() {
        frames.push(frame(name, lines.path(unit, place).as_deref(), place.line));
    }
    frames
}
