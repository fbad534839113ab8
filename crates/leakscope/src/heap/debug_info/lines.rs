//! A unit's line program: which line of which file each address comes from.

use std::path::PathBuf;

use gimli::{LineProgramHeader, UnitRef};

use super::{Place, Reader};

/// What a unit's line program says of the wanted addresses.
pub(super) struct Lines<'a> {
    /// For each address where it comes from.
    pub(super) places: Vec<Place>,
    header: Option<LineProgramHeader<Reader<'a>>>,
}

impl<'a> Lines<'a> {
    /// Reads it for addresses in rising order.
    pub(super) fn read(unit: UnitRef<'_, Reader<'a>>, addresses: &[u64]) -> Self {
        let mut places = vec![Place::default(); addresses.len()];
        let Some(program) = unit.line_program.clone() else { return Self { places, header: None } };
        let mut rows = program.rows();
        // A row holds until the next one. Its addresses rise until the end of its sequence.
        let mut holds: Option<Place> = None;
        let mut next = addresses.len();
        while let Ok(Some((_, row))) = rows.next_row() {
            if let Some(place) = holds {
                while addresses.get(next).is_some_and(|&address| address < row.address()) {
                    places[next] = place;
                    next += 1;
                }
            } else if row.address() > 0 {
                next = addresses.partition_point(|&address| address < row.address());
            } else {
                next = addresses.len(); // a function that the linker dropped
            }
            let line = row.line().and_then(|line| line.get().try_into().ok()).unwrap_or(0);
            holds = (!row.end_sequence()).then_some(Place { file: Some(row.file_index()), line });
        }
        Self { places, header: Some(rows.header().clone()) }
    }

    /// A place's file: its full path.
    pub(super) fn path(&self, unit: UnitRef<'_, Reader<'a>>, place: Place) -> Option<PathBuf> {
        let header = self.header.as_ref()?;
        // Before DWARF 5 files count from 1, and 0 is none.
        let file = place.file.filter(|&file| file > 0 || header.version() >= 5)?;
        let file = header.file(file)?;
        let text = |value| Some(unit.attr_string(value).ok()?.to_string_lossy().into_owned());
        let mut path = PathBuf::from(
            unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default(),
        );
        // Folder 0 is the one that it was compiled in.
        if file.directory_index() != 0 {
            path.push(text(file.directory(header)?)?);
        }
        path.push(text(file.path_name())?);
        Some(path)
    }
}
