//! Names of functions: from a file's symbol table, and from the linker's form to the reader's.

use object::{Object, ObjectSymbol, SymbolKind};

use super::elf::ElfFile;

/// The name of the function that each address lies in, demangled. The addresses rise.
pub(super) fn names(file: &ElfFile, addresses: &[u64]) -> Vec<Option<String>> {
    let object = file.object();
    let mut names = covering(object.symbols(), addresses);
    // A stripped library still has the names of what it exports.
    for (name, exported) in names.iter_mut().zip(covering(object.dynamic_symbols(), addresses)) {
        *name = name.take().or(exported);
    }
    file.release_pages();
    names
}

fn covering<'data, S: ObjectSymbol<'data>>(
    symbols: impl Iterator<Item = S>,
    addresses: &[u64],
) -> Vec<Option<String>> {
    // For each address the function that begins last before it: here at the first address after its beginning only.
    let mut nearest: Vec<Option<S>> = addresses.iter().map(|_| None).collect();
    for symbol in symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && !symbol.is_undefined()) {
        let first = addresses.partition_point(|&address| address < symbol.address());
        let Some(known) = nearest.get_mut(first) else { continue };
        let later = |known: &S| (known.address(), known.size()) < (symbol.address(), symbol.size());
        if known.as_ref().is_none_or(later) {
            *known = Some(symbol);
        }
    }
    let mut last: Option<S> = None;
    let names = nearest.into_iter().zip(addresses).map(|(nearest, &address)| {
        last = nearest.or(last.take());
        let symbol = last.as_ref().filter(|symbol| address - symbol.address() < symbol.size())?;
        Some(demangled(&String::from_utf8_lossy(symbol.name_bytes().ok()?)))
    });
    names.collect()
}

/// A function's name as its source has it, Rust's without its hash.
pub(super) fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let cpp = name.starts_with("_Z").then(|| cpp_demangle::Symbol::new(name).ok()?.demangle().ok()).flatten();
    cpp.unwrap_or_else(|| name.to_owned())
}
