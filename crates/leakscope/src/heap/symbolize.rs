//! Return addresses to frames. What was looked up once is remembered for the life of the process; what is missing is looked up
//! in one batch, since that costs megabytes for a moment, and no more for many addresses than for a few.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use super::{
    debug_info::{self, Detail},
    frame::{self, Frame, Owner},
    parse::RawStack,
};
use crate::proc::CodeMapping;

/// Addresses remembered at most: about 100 bytes each. A program has no more call sites of allocations than that unless
/// it loads and unloads code; then everything is forgotten and looked up again.
const REMEMBERED_ADDRESSES: usize = 1 << 16;

/// A whole stack, symbolized. Shared by all snapshots that hold it.
#[derive(Debug)]
pub(crate) struct Trace {
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
pub(crate) struct Symbols {
    frames: HashMap<u64, Arc<[Frame]>>,
    traces: HashMap<Arc<[u64]>, Arc<Trace>>,
    names: Names,
    /// Gives back what looking up has freed.
    when_looked_up: fn(),
}

/// Functions and files, each held once.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Symbols {
    /// Nothing is known yet. `when_looked_up` is called each time that addresses were looked up, which takes megabytes for a
    /// moment.
    pub(crate) fn new(when_looked_up: fn()) -> Self {
        Self { frames: HashMap::new(), traces: HashMap::new(), names: Names::default(), when_looked_up }
    }

    /// Symbolizes each stack. Looks up what is new, and forgets stacks that no snapshot holds any more.
    pub(crate) fn traces(&mut self, stacks: &[RawStack], mappings: &[CodeMapping]) -> Vec<Arc<Trace>> {
        self.traces.retain(|_, trace| Arc::strong_count(trace) > 1);
        if self.frames.len() > REMEMBERED_ADDRESSES {
            *self = Self::new(self.when_looked_up);
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
        let site = site.unwrap_or_else(|| self.names.unknown(UNKNOWN));
        let trace = Arc::new(Trace { addresses: Arc::clone(&addresses), frames, site });
        self.traces.insert(addresses, Arc::clone(&trace));
        trace
    }

    fn look_up_missing(&mut self, stacks: &[RawStack], mappings: &[CodeMapping]) {
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
        let mapping_of = |address: u64| mappings.iter().find(|mapping| mapping.contains(address));
        // The addresses are sorted, and a mapping is a range of them.
        for addresses in missing.chunk_by(|a, b| mapping_of(*a) == mapping_of(*b)) {
            self.look_up(addresses, mapping_of(addresses[0]), &own_executable);
        }
        drop(missing);
        (self.when_looked_up)();
    }

    /// Looks up addresses of one mapping, sorted.
    fn look_up(&mut self, addresses: &[u64], mapping: Option<&CodeMapping>, own_executable: &Path) {
        let file = mapping.and_then(|mapping| mapping.path.file_name());
        let module = file.map_or_else(|| UNKNOWN.to_owned(), |name| format!("[{}]", name.to_string_lossy()));
        let names = &mut self.names;
        let found = mapping.map_or_else(Vec::new, |mapping| {
            // A return address is that of the next instruction, which may belong to the next line: hence the byte less.
            let offset =
                |address: &u64| mapping.file_offset.wrapping_add(address - mapping.start).saturating_sub(1);
            let offsets: Vec<u64> = addresses.iter().map(offset).collect();
            let (file, detail) = symbols_of(&mapping.path, own_executable);
            debug_info::look_up(file, &offsets, detail, |function, file, line| {
                names.frame(function.unwrap_or(&module), file, line)
            })
        });
        // A file that is gone or is no ELF file (`[vdso]`) leaves its addresses with the module's name.
        let mut found = found.into_iter();
        for address in addresses {
            let frames = found.next().filter(|frames| !frames.is_empty());
            let frames = frames.unwrap_or_else(|| vec![names.unknown(&module)]);
            self.frames.insert(*address, frames.into());
        }
    }
}

/// Stands for a function of which nothing is known.
const UNKNOWN: &str = "[unknown]";

/// Where to read a mapping's symbols, and which: lines for the program, names alone for shared libraries.
fn symbols_of<'a>(path: &'a Path, own_executable: &Path) -> (&'a Path, Detail) {
    if path == own_executable {
        // The link leads to the program that runs, though a newer build may have replaced its file.
        (Path::new("/proc/self/exe"), Detail::Lines)
    } else {
        (path, Detail::Names)
    }
}

impl Names {
    fn frame(&mut self, function: &str, file: Option<&Path>, line: u32) -> Frame {
        Frame {
            function: self.shared(function),
            file: self.shared(&file.map(frame::readable_path).unwrap_or_default()),
            line,
            owner: frame::owner(function, file),
        }
    }

    fn unknown(&mut self, name: &str) -> Frame {
        Frame { function: self.shared(name), file: self.shared(""), line: 0, owner: Owner::Runtime }
    }

    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{backtrace::Backtrace, hint::black_box, path::PathBuf, ptr};

    use super::*;
    use crate::heap::parse::parse;

    fn mappings() -> Vec<CodeMapping> {
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
        let traces = Symbols::new(|| ()).traces(&[stack(&[start + 1]), stack(&[start])], &mappings());
        assert!(functions(&traces[0])[0].ends_with("symbolize::tests::known_function"), "{:?}", traces[0]);
        assert!(!functions(&traces[1])[0].ends_with("known_function"), "{:?}", traces[1]);
        let frame = &traces[0].frames[0][0];
        assert_eq!((&*frame.file, frame.line), (file!(), known_function() - 1), "where the function begins");
    }

    /// Where this is called from: return addresses, and what the standard library makes of them.
    #[inline(always)]
    fn called_from() -> (Vec<u64>, Backtrace) {
        let mut addresses = [ptr::null_mut(); 64];
        // SAFETY: the buffer has room for as many addresses as it is said to have. Both walk the stack on the same line.
        let (found, named) =
            (unsafe { libc::backtrace(addresses.as_mut_ptr(), 64) }, Backtrace::force_capture());
        (addresses[..found as usize].iter().map(|address| *address as u64).collect(), named)
    }

    #[inline(always)]
    fn called_within() -> (Vec<u64>, Backtrace) {
        black_box(called_from())
    }

    #[inline(never)]
    fn calls() -> (Vec<u64>, Backtrace) {
        black_box(called_within())
    }

    /// `file:line` of all frames that have one.
    fn positions_by_std(named: &Backtrace) -> Vec<String> {
        let text = format!("{named:#}");
        let positions = text.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
        let readable = |position: &str| {
            let (file, line) = position.rsplit_once(':')?.0.rsplit_once(':')?;
            Some(format!("{}:{line}", frame::readable_path(Path::new(file))))
        };
        positions.map(|position| readable(position).unwrap()).collect()
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn frames_are_those_that_the_standard_library_finds() {
        let (addresses, named) = calls();
        let traces = Symbols::new(|| ()).traces(&[stack(&addresses)], &mappings());
        let ours: Vec<String> = traces[0].frames().filter_map(Frame::position).collect();
        let theirs = positions_by_std(&named);
        // Theirs begins within the standard library, which takes it.
        let first = theirs.iter().position(|position| *position == ours[0]).unwrap();
        // It reads the C library's lines too, where they are installed.
        assert_eq!(ours, theirs[first..][..ours.len()]);
        let functions: Vec<_> = functions(&traces[0]).into_iter().take(3).collect();
        assert_eq!(functions[..2], ["called_from", "called_within"], "inlined: without their paths");
        assert!(functions[2].ends_with("symbolize::tests::calls"), "{functions:?}");
    }

    #[test]
    fn what_has_no_symbol_has_a_name_all_the_same() {
        let unreadable = CodeMapping {
            start: 0x1000,
            end: 0x2000,
            file_offset: 0,
            path: PathBuf::from("/no/such/lib.so"),
        };
        let stacks = [stack(&[0x1800]), stack(&[u64::MAX]), stack(&[0]), stack(&[])];
        let traces = Symbols::new(|| ()).traces(&stacks, &[unreadable]);
        let names: Vec<_> = traces.iter().map(|trace| &*trace.site.function).collect();
        assert_eq!(names, ["[lib.so]", "[unknown]", "[unknown]", "[unknown]"]);
    }

    #[test]
    fn forgets_stacks_that_no_snapshot_holds_and_shares_the_rest() {
        let mut symbols = Symbols::new(|| ());
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
