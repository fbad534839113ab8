//! Functions of a unit whose debug information lies in a file of its own, as `-C split-debuginfo` leaves it: in a package next
//! to the program (`program.dwp`), or where the compiler wrote it (`unit.dwo`). The lines stay with the program.

use std::path::{Path, PathBuf};

use gimli::{DwarfPackageSections, DwarfSections, DwoId, EndianSlice, NativeEndian, SectionId, UnitRef};

use super::{Dwarf, Reader, Unit, UnitHeader, elf::ElfFile, functions::Functions};

/// A unit's functions, wherever they lie; none where they can't be read.
pub(super) fn functions<'a>(
    unit: UnitRef<'_, Reader<'a>>,
    headers: &[UnitHeader<'a>],
    program: &Path,
    addresses: &[u64],
) -> Functions {
    let functions = match unit.dwo_id {
        None => Some(Functions::read(unit, headers, addresses)),
        Some(id) => packed(unit, id, program, addresses).or_else(|| unpacked(unit, addresses)),
    };
    functions.unwrap_or_else(|| Functions::none(addresses.len()))
}

fn packed(unit: UnitRef<'_, Reader<'_>>, id: DwoId, program: &Path, addresses: &[u64]) -> Option<Functions> {
    let mut path = program.canonicalize().ok()?.into_os_string();
    path.push(".dwp");
    let file = ElfFile::open(path.as_ref())?;
    let sections = DwarfPackageSections::load(|id| file.section(id, SectionId::dwo_name)).ok()?;
    let empty = EndianSlice::new(&[], NativeEndian);
    let package = sections.borrow(|section| EndianSlice::new(section, NativeEndian), empty).ok()?;
    let dwarf = package.find_cu(id, unit.dwarf).ok()??;
    read(&dwarf, unit.unit, addresses)
}

fn unpacked(unit: UnitRef<'_, Reader<'_>>, addresses: &[u64]) -> Option<Functions> {
    let name = unit.attr_string(unit.dwo_name().ok()??).ok()?.to_string_lossy().into_owned();
    let folder = unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned());
    let file = ElfFile::open(&PathBuf::from(folder.unwrap_or_default()).join(name))?;
    let sections = DwarfSections::load(|id| file.section(id, SectionId::dwo_name)).ok()?;
    let mut dwarf = sections.borrow(|section| EndianSlice::new(section, NativeEndian));
    dwarf.make_dwo(unit.dwarf);
    read(&dwarf, unit.unit, addresses)
}

/// Reads the functions of the one unit of `dwarf`, which holds them for the program's unit `skeleton`.
fn read(dwarf: &Dwarf<'_>, skeleton: &Unit<'_>, addresses: &[u64]) -> Option<Functions> {
    let mut unit = dwarf.unit(dwarf.units().next().ok()??).ok()?;
    if unit.dwo_id != skeleton.dwo_id {
        return None; // of another build
    }
    // As `copy_relocated_attributes`, which wants both of one lifetime.
    unit.low_pc = skeleton.low_pc;
    unit.addr_base = skeleton.addr_base;
    if unit.header.version() < 5 {
        unit.rnglists_base = skeleton.rnglists_base;
    }
    Some(Functions::read(UnitRef::new(dwarf, &unit), &[], addresses))
}
