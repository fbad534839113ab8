//! A small program, built in every way that lays its debug information out otherwise: the same is found each time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object, ObjectSegment, ObjectSymbol};

use super::{Detail, build_id, elf::ElfFile, look_up, names::demangled};

const SOURCE: &str = r#"use std::hint::black_box;

#[inline(always)]
fn inner(kept: &mut Vec<Vec<u8>>, bytes: usize) {
    kept.push(Vec::with_capacity(black_box(bytes)));
}

#[inline(always)]
fn middle(kept: &mut Vec<Vec<u8>>, bytes: usize) {
    inner(kept, bytes + 1);
}

#[inline(always)]
fn twice(bytes: usize) -> usize {
    black_box(bytes) * 2
}

#[unsafe(no_mangle)]
#[inline(never)]
fn outer(kept: &mut Vec<Vec<u8>>, bytes: usize) {
    let more = twice(bytes); // opens a scope, which `middle` is inlined in
    middle(kept, more);
}

fn main() {
    outer(black_box(&mut Vec::new()), 1);
}
"#;

/// Function and line.
type Found = (String, u32);

/// The chain of calls from `inner` outwards, as the source has it.
fn expected() -> Vec<Found> {
    let line = |text: &str| 1 + SOURCE.lines().position(|line| line.contains(text)).unwrap() as u32;
    let calls = [("inner", "kept.push"), ("middle", "inner(kept, bytes"), ("outer", "middle(kept, more")];
    calls.iter().map(|(function, text)| ((*function).to_owned(), line(text))).collect()
}

/// Builds the program in `folder`.
fn build(folder: &Path, options: &[&str]) -> PathBuf {
    fs::write(folder.join("program.rs"), SOURCE).unwrap();
    let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
    run(Command::new(compiler)
        .args(["--edition=2024", "-O", "program.rs"])
        .args(options)
        .current_dir(folder));
    folder.join("program")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Each byte of `outer`: its addresses, and where they lie in the file.
fn code_of_outer(program: &Path) -> (Vec<u64>, Vec<u64>) {
    let file = ElfFile::open(program).unwrap();
    let object = file.object();
    let outer = object.symbols().find(|symbol| symbol.name() == Ok("outer")).unwrap();
    let addresses = outer.address()..outer.address() + outer.size();
    let holds =
        |start: u64, size: u64| start <= addresses.start && addresses.end <= start.saturating_add(size);
    let segment = object.segments().find(|segment| holds(segment.address(), segment.size())).unwrap();
    let offset = |address: u64| address - segment.address() + segment.file_range().0;
    (addresses.clone().collect(), addresses.map(offset).collect())
}

/// What is found of each place: functions without their paths, which line tables leave out, and lines of the program's own
/// file, 0 elsewhere.
fn found(program: &Path, offsets: &[u64], detail: Detail) -> Vec<Vec<Found>> {
    look_up(program, offsets, detail, |function, file, line| {
        let function = function.unwrap().rsplit("::").next().unwrap();
        let own = file.is_some_and(|file| file.ends_with("program.rs"));
        (function.to_owned(), if own { line } else { 0 })
    })
}

/// The line of each address in the program's own file, 0 elsewhere, as binutils have it.
fn lines_by_addr2line(program: &Path, addresses: &[u64]) -> Vec<u32> {
    let mut command = Command::new("addr2line");
    command.arg("-e").arg(program).args(addresses.iter().map(|address| format!("{address:#x}")));
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = |position: &str| {
        let (file, line) = position.rsplit_once(':')?;
        let line = line.split(' ').next()?; // `16 (discriminator 2)`
        file.ends_with("program.rs").then(|| line.parse().ok())?
    };
    text.lines().map(|position| line(position).unwrap_or(0)).collect()
}

#[track_caller]
fn finds_all(program: &Path, offsets: &[u64]) {
    let found = found(program, offsets, Detail::Lines);
    let own = |frames: &Vec<Found>| frames.iter().filter(|(_, line)| *line > 0).cloned().collect::<Vec<_>>();
    assert!(found.iter().any(|frames| own(frames) == expected()), "{found:?} lacks {:?}", expected());
    for frames in &found {
        assert_eq!(frames.last().map(|(function, _)| function.as_str()), Some("outer"), "{found:?}");
    }
}

#[test]
fn finds_inlined_functions_and_lines_however_the_program_was_built() {
    for options in [
        &["-Cdebuginfo=line-tables-only"] as &[&str],
        &["-Cdebuginfo=line-tables-only", "-Cdwarf-version=5"],
        &["-Cdebuginfo=2", "-Clto=fat"],
        &["-Cdebuginfo=2", "-Csplit-debuginfo=packed"],
        &["-Cdebuginfo=2", "-Csplit-debuginfo=packed", "-Cdwarf-version=5"],
        &["-Cdebuginfo=2", "-Csplit-debuginfo=unpacked"],
        &["-Cdebuginfo=1", "-Clink-arg=-Wl,--compress-debug-sections=zlib"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let program = build(folder.path(), options);
        println!("{options:?}");
        finds_all(&program, &code_of_outer(&program).1);
    }
}

#[test]
fn each_byte_has_the_line_that_addr2line_finds() {
    for version in ["4", "5"] {
        let folder = tempfile::tempdir().unwrap();
        let version = format!("-Cdwarf-version={version}");
        let program = build(folder.path(), &["-Cdebuginfo=line-tables-only", &version]);
        let (addresses, offsets) = code_of_outer(&program);
        let found = found(&program, &offsets, Detail::Lines);
        let lines: Vec<u32> = found.iter().map(|frames| frames[0].1).collect();
        assert_eq!(lines, lines_by_addr2line(&program, &addresses));
    }
}

#[test]
fn finds_debug_information_that_was_moved_to_a_file_of_its_own_unless_of_another_build() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &["-Cdebuginfo=1", "-Clink-arg=-Wl,--build-id"]);
    let (_, offsets) = code_of_outer(&program);
    let objcopy =
        |arguments: &[&str]| run(Command::new("objcopy").args(arguments).current_dir(folder.path()));
    objcopy(&["--only-keep-debug", "program", "program.debug"]);
    objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
    finds_all(&program, &offsets);

    let id = build_id(&program).unwrap();
    assert!(id.len() >= 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    assert_eq!(build_id(&folder.path().join("program.debug")), Some(id));

    let other = tempfile::tempdir().unwrap();
    let other = build(other.path(), &["-Cdebuginfo=1", "-Copt-level=1", "-Clink-arg=-Wl,--build-id"]);
    fs::copy(other, folder.path().join("program.debug")).unwrap();
    assert!(found(&program, &offsets, Detail::Lines).iter().all(Vec::is_empty));
}

#[test]
fn without_debug_information_there_are_names_and_without_a_file_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &["-Cdebuginfo=0"]);
    let (_, offsets) = code_of_outer(&program);
    let named = vec![vec![("outer".to_owned(), 0)]; offsets.len()];
    assert_eq!(found(&program, &offsets, Detail::Lines), named);
    assert_eq!(found(&program, &offsets, Detail::Names), named);
    let outside = [0, fs::metadata(&program).unwrap().len(), u64::MAX];
    assert_eq!(found(&program, &outside, Detail::Lines), vec![vec![]; outside.len()]);
    for no_program in
        [folder.path().join("program.rs"), folder.path().join("missing"), folder.path().to_owned()]
    {
        assert_eq!(found(&no_program, &offsets, Detail::Lines), vec![vec![]; offsets.len()]);
        assert_eq!(build_id(&no_program), None);
    }
}

#[test]
fn names_are_as_their_source_has_them() {
    for (linked, source) in [
        ("_ZN4shop5cache5Cache5store17h0123456789abcdefE", "shop::cache::Cache::store"),
        ("_ZN4shop5store28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "shop::store::{{closure}}"),
        ("_RNvNtCsdAcXwnDEtCN_4shop5cache5store", "shop::cache::store"),
        ("_ZN4shop5Cache5storeEPKcm", "shop::Cache::store(char const*, unsigned long)"),
        ("je_malloc", "je_malloc"),
        ("_Z", "_Z"),
        ("", ""),
    ] {
        assert_eq!(demangled(linked), source);
    }
}
