//! Return addresses to frames. What was looked up once is remembered for the life of the process; the symbolizer itself,
//! which needs megabytes, is opened for what is missing, in one batch, and dropped.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized,
    source::{Elf, Source},
};

use super::{
    frame::{self, Frame, Owner},
    jemalloc,
    parse::{Mapping, RawStack},
};

/// Addresses remembered at most: about 100 bytes each. A program has no more call sites of allocations than that unless
/// it loads and unloads code; then everything is forgotten and looked up again.
const REMEMBERED_ADDRESSES: usize = 1 << 16;

/// A whole stack, symbolized. Shared by all snapshots that hold it.
#[derive(Debug)]
pub(super) struct Trace {
    /// Return addresses, innermost first.
    pub(super) addresses: Arc<[u64]>,
    /// For each address its frames, innermost first: inlined functions before the one they are inlined in.
    pub(super) frames: Box<[Arc<[Frame]>]>,
    /// Where [`frame::growth_site`] sees the growth.
    pub(super) site: Frame,
}

impl Trace {
    /// All frames, innermost first, inlined functions too.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.frames.iter().flat_map(|frames| frames.iter())
    }
}

/// What is known of addresses and stacks so far.
#[derive(Default)]
pub(super) struct Symbols {
    frames: HashMap<u64, Arc<[Frame]>>,
    traces: HashMap<Arc<[u64]>, Arc<Trace>>,
    /// Functions and files, each held once.
    names: HashSet<Arc<str>>,
}

impl Symbols {
    /// Symbolizes each stack. Looks up what is new, and forgets stacks that no snapshot holds any more.
    pub(super) fn traces(&mut self, stacks: &[RawStack], mappings: &[Mapping]) -> Vec<Arc<Trace>> {
        self.traces.retain(|_, trace| Arc::strong_count(trace) > 1);
        if self.frames.len() > REMEMBERED_ADDRESSES {
            *self = Self::default();
        }
        self.look_up_missing(stacks, mappings);
        stacks.iter().map(|stack| self.trace(stack)).collect()
    }

    fn trace(&mut self, stack: &RawStack) -> Arc<Trace> {
        if let Some(known) = self.traces.get(stack.addresses.as_slice()) {
            return Arc::clone(known);
        }
        let addresses: Arc<[u64]> = stack.addresses.as_slice().into();
        let frames: Box<[_]> =
            addresses.iter().filter_map(|address| self.frames.get(address).cloned()).collect();
        let site = frame::growth_site(frames.iter().flat_map(|frames| frames.iter())).cloned();
        let site = site.unwrap_or_else(|| self.unknown("[unknown]"));
        let trace = Arc::new(Trace { addresses: Arc::clone(&addresses), frames, site });
        self.traces.insert(addresses, Arc::clone(&trace));
        trace
    }

    fn look_up_missing(&mut self, stacks: &[RawStack], mappings: &[Mapping]) {
        let mut missing: Vec<u64> = stacks
            .iter()
            .flat_map(|stack| &stack.addresses)
            .copied()
            .filter(|address| !self.frames.contains_key(address))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return;
        }
        let own_executable = std::env::current_exe().unwrap_or_default();
        let symbolizer = blazesym::symbolize::Symbolizer::new();
        let mapping_of = |address: u64| mappings.iter().find(|mapping| mapping.contains(address));
        // The addresses are sorted, and a mapping is a range of them.
        for addresses in missing.chunk_by(|a, b| mapping_of(*a) == mapping_of(*b)) {
            self.look_up(&symbolizer, addresses, mapping_of(addresses[0]), &own_executable);
        }
        drop(symbolizer);
        drop(missing);
        jemalloc::purge_thread();
    }

    /// Looks up addresses of one mapping.
    fn look_up(
        &mut self,
        symbolizer: &blazesym::symbolize::Symbolizer,
        addresses: &[u64],
        mapping: Option<&Mapping>,
        own_executable: &Path,
    ) {
        let (mut names, mut positions) = (Vec::new(), Vec::new());
        let mut module = "[unknown]".to_owned();
        if let Some(mapping) = mapping {
            module = mapping
                .path
                .file_name()
                .map_or_else(|| module, |name| format!("[{}]", name.to_string_lossy()));
            // A return address is that of the next instruction, which may belong to the next line: hence the byte less.
            let offset = |address: &u64| (address - mapping.start + mapping.file_offset).saturating_sub(1);
            let offsets: Vec<u64> = addresses.iter().map(offset).collect();
            let elf = elf(&mapping.path, own_executable);
            // A file that is gone or is no ELF file (`[vdso]`) leaves its addresses with the module's name.
            let look_up = |elf| {
                symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(&offsets)).unwrap_or_default()
            };
            // Line tables without types name a function without its path; the symbol table has the path.
            names = look_up(Elf { debug_syms: false, ..elf.clone() });
            if elf.debug_syms {
                positions = look_up(elf);
            }
        }
        for (index, address) in addresses.iter().enumerate() {
            let name = names.get(index).and_then(Symbolized::as_sym);
            let position = positions.get(index).and_then(Symbolized::as_sym);
            let frames = match position.or(name) {
                Some(symbol) => self.frames_of(name.map_or(&symbol.name, |name| &name.name), symbol),
                None => Arc::new([self.unknown(&module)]),
            };
            self.frames.insert(*address, frames);
        }
    }

    fn frames_of(&mut self, name: &str, symbol: &Sym<'_>) -> Arc<[Frame]> {
        // blazesym names the containing function first and the innermost of the inlined ones last.
        let inlined = symbol.inlined.iter().rev();
        let inlined = inlined.map(|function| (function.name.as_ref(), function.code_info.as_ref()));
        let all = inlined.chain([(name, symbol.code_info.as_deref())]);
        all.map(|(function, code)| self.frame(function, code)).collect()
    }

    fn frame(&mut self, function: &str, code: Option<&CodeInfo<'_>>) -> Frame {
        let path = code.map(CodeInfo::to_path);
        Frame {
            function: self.name(function),
            file: self.name(&path.as_deref().map(frame::readable_path).unwrap_or_default()),
            line: code.and_then(|code| code.line).unwrap_or(0),
            owner: frame::owner(function, path.as_deref()),
        }
    }

    fn unknown(&mut self, name: &str) -> Frame {
        Frame { function: self.name(name), file: self.name(""), line: 0, owner: Owner::Runtime }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// Where to read a mapping's symbols: lines for the program, names alone for shared libraries.
fn elf(path: &Path, own_executable: &Path) -> Elf {
    let is_program = path == own_executable;
    // The link leads to the program that runs, though a newer build may have replaced its file.
    let mut elf = Elf::new(if is_program { PathBuf::from("/proc/self/exe") } else { path.to_owned() });
    elf.debug_syms = is_program;
    elf
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::heap::parse::parse;

    fn mappings() -> Vec<Mapping> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        parse(format!("heap_v2/1\nMAPPED_LIBRARIES:\n{maps}").as_bytes()).unwrap().mappings
    }

    fn stack(addresses: &[u64]) -> RawStack {
        RawStack { addresses: addresses.to_vec(), samples: 1, bytes: 1 }
    }

    #[inline(never)]
    fn known_function() -> u32 {
        std::hint::black_box(line!())
    }

    fn functions(trace: &Trace) -> Vec<String> {
        trace.frames.iter().flat_map(|frames| frames.iter()).map(|frame| frame.function.to_string()).collect()
    }

    #[test]
    fn a_return_address_belongs_to_the_call_before_it() {
        let start = known_function as fn() -> u32 as usize as u64;
        let traces = Symbols::default().traces(&[stack(&[start + 1]), stack(&[start])], &mappings());
        assert!(functions(&traces[0])[0].ends_with("symbolize::tests::known_function"), "{:?}", traces[0]);
        assert!(!functions(&traces[1])[0].ends_with("known_function"), "{:?}", traces[1]);
        let frame = &traces[0].frames[0][0];
        assert_eq!((&*frame.file, frame.line), (file!(), known_function() - 1), "where the function begins");
    }

    #[test]
    fn what_has_no_symbol_has_a_name_all_the_same() {
        let unreadable =
            Mapping { start: 0x1000, end: 0x2000, file_offset: 0, path: PathBuf::from("/no/such/lib.so") };
        let stacks = [stack(&[0x1800]), stack(&[u64::MAX]), stack(&[0]), stack(&[])];
        let traces = Symbols::default().traces(&stacks, &[unreadable]);
        let names: Vec<_> = traces.iter().map(|trace| &*trace.site.function).collect();
        assert_eq!(names, ["[lib.so]", "[unknown]", "[unknown]", "[unknown]"]);
    }

    #[test]
    fn forgets_stacks_that_no_snapshot_holds_and_shares_the_rest() {
        let mut symbols = Symbols::default();
        let (a, b) = (stack(&[1, 2]), stack(&[1, 3]));
        let held = symbols.traces(&[a, b], &[]);
        let (a, c) = (stack(&[1, 2]), stack(&[4]));
        let again = symbols.traces(&[a, c], &[]);
        assert!(Arc::ptr_eq(&held[0], &again[0]));
        drop((held, again));
        symbols.traces(&[], &[]);
        assert!(symbols.traces.is_empty());
    }
}
