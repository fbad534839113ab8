//! A unit's functions, and what was inlined in them: the calls on the way to each wanted address.

use std::{collections::HashMap, rc::Rc};

use gimli::{AttributeValue, DebugInfoOffset, DebuggingInformationEntry, UnitRef, constants as dw};

use super::{Place, Reader, Unit, UnitHeader, names::demangled, within};

/// An abstract function may stand for another one, and so on; a longer way is no way.
const LONGEST_ORIGIN: usize = 16;

/// The functions that cover the wanted addresses.
pub(super) struct Functions {
    pub(super) all: Vec<Function>,
    /// For each address the innermost of its functions, an index of `all`.
    pub(super) innermost: Vec<Option<usize>>,
}

/// A function, or one inlined.
pub(super) struct Function {
    /// Demangled; without its path in line tables.
    pub(super) name: Option<String>,
    /// The one that it is inlined in, an index of `all`; `None` for a function of its own.
    pub(super) caller: Option<usize>,
    /// Where it is called in `caller`.
    pub(super) call: Place,
    depth: isize,
}

impl Functions {
    /// None for so many addresses.
    pub(super) fn none(addresses: usize) -> Self {
        Self { all: Vec::new(), innermost: vec![None; addresses] }
    }

    /// Reads a unit's functions for addresses in rising order. `headers` are those of all units of the file.
    pub(super) fn read<'a>(
        unit: UnitRef<'_, Reader<'a>>,
        headers: &[UnitHeader<'a>],
        addresses: &[u64],
    ) -> Self {
        let mut found = Self::none(addresses.len());
        // What was found before an entry that can't be read holds all the same.
        let _ = found.add(unit, headers, addresses);
        found
    }

    fn add<'a>(
        &mut self,
        unit: UnitRef<'_, Reader<'a>>,
        headers: &[UnitHeader<'a>],
        addresses: &[u64],
    ) -> gimli::Result<()> {
        let mut origins = Origins { headers, units: HashMap::new() };
        let mut entries = unit.entries_raw(None)?;
        let mut entry = DebuggingInformationEntry::null();
        // The functions that the entry at hand lies in, outermost first.
        let mut around: Vec<usize> = Vec::new();
        // What is inlined in a function that covers no wanted address covers none either.
        let mut passed_over = isize::MAX;
        while !entries.is_empty() {
            let depth = entries.next_depth();
            while around.last().is_some_and(|&function| self.all[function].depth >= depth) {
                around.pop();
            }
            if depth <= passed_over {
                passed_over = isize::MAX;
            }
            let start = entries.clone();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let is_inlined = match abbreviation.tag() {
                dw::DW_TAG_subprogram => false,
                dw::DW_TAG_inlined_subroutine if passed_over == isize::MAX => true,
                _ => {
                    entries.skip_attributes(abbreviation.attributes())?;
                    continue;
                }
            };
            entries = start;
            entries.read_entry(&mut entry)?;
            let caller = around.last().copied().filter(|_| is_inlined);
            let this = self.all.len();
            let mut covers_any = false;
            let mut ranges = unit.die_ranges(&entry)?;
            while let Some(range) = ranges.next()? {
                for innermost in &mut self.innermost[within(addresses, range)] {
                    if *innermost == caller {
                        *innermost = Some(this);
                        covers_any = true;
                    }
                }
            }
            if !covers_any {
                passed_over = depth;
                continue;
            }
            around.push(this);
            self.all.push(Function {
                name: origins.name(unit, &entry, LONGEST_ORIGIN).unwrap_or_default(),
                caller,
                call: call(&entry),
                depth,
            });
        }
        Ok(())
    }
}

fn call(entry: &DebuggingInformationEntry<Reader<'_>>) -> Place {
    let file = match entry.attr_value(dw::DW_AT_call_file) {
        Some(AttributeValue::FileIndex(file)) => Some(file),
        _ => None,
    };
    let line = entry.attr(dw::DW_AT_call_line).and_then(|line| line.udata_value());
    Place { file, line: line.and_then(|line| line.try_into().ok()).unwrap_or(0) }
}

/// Where the names of inlined functions stand: in this unit or, after link-time optimization, in others.
struct Origins<'u, 'a> {
    headers: &'u [UnitHeader<'a>],
    /// Other units in use, by their place among the headers.
    units: HashMap<usize, Rc<Unit<'a>>>,
}

impl<'a> Origins<'_, 'a> {
    fn name(
        &mut self,
        unit: UnitRef<'_, Reader<'a>>,
        entry: &DebuggingInformationEntry<Reader<'a>>,
        longest: usize,
    ) -> gimli::Result<Option<String>> {
        for attribute in [dw::DW_AT_linkage_name, dw::DW_AT_MIPS_linkage_name, dw::DW_AT_name] {
            if let Some(value) = entry.attr_value(attribute) {
                return Ok(Some(demangled(&unit.attr_string(value)?.to_string_lossy())));
            }
        }
        let origin = [dw::DW_AT_abstract_origin, dw::DW_AT_specification];
        match origin.iter().find_map(|attribute| entry.attr_value(*attribute)) {
            Some(AttributeValue::UnitRef(offset)) if longest > 0 => {
                self.name(unit, &unit.entry(offset)?, longest - 1)
            }
            Some(AttributeValue::DebugInfoRef(offset)) if longest > 0 => {
                let Some(other) = self.unit_at(unit, offset)? else { return Ok(None) };
                let other = UnitRef::new(unit.dwarf, &other);
                let Some(offset) = offset.to_unit_offset(&other.header) else { return Ok(None) };
                self.name(other, &other.entry(offset)?, longest - 1)
            }
            _ => Ok(None),
        }
    }

    /// The unit that an entry of another one lies in.
    fn unit_at(
        &mut self,
        unit: UnitRef<'_, Reader<'a>>,
        offset: DebugInfoOffset,
    ) -> gimli::Result<Option<Rc<Unit<'a>>>> {
        let after = self.headers.partition_point(|header| header.debug_info_offset() <= Some(offset));
        let Some(index) = after.checked_sub(1) else { return Ok(None) };
        if let Some(known) = self.units.get(&index) {
            return Ok(Some(Rc::clone(known)));
        }
        let other = Rc::new(unit.dwarf.unit(self.headers[index])?);
        self.units.insert(index, Rc::clone(&other));
        Ok(Some(other))
    }
}
