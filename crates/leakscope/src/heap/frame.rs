//! One source position on a stack, whose code it is, and which of a stack's frames a reader wants to see named.
//!
//! Whose code it is follows from the file that the line tables name, and from the function's name where there is no file:
//! Cargo keeps the code of dependencies under its registry, rustc names the standard library's files `/rustc/...`, and
//! everything else with a file is the application's own. Nothing here knows any application by name.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// A function at a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Demangled, without its hash.
    pub(super) function: Arc<str>,
    /// Readable (see [`readable_path`]); empty where unknown.
    pub(super) file: Arc<str>,
    /// 0 where unknown.
    pub(super) line: u32,
    pub(super) owner: Owner,
}

impl Frame {
    /// `file:line`; `None` where the file is unknown.
    pub(super) fn position(&self) -> Option<String> {
        (!self.file.is_empty()).then(|| format!("{}:{}", self.file, self.line))
    }
}

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The program under study, or another crate of its workspace.
    Application,
    /// A library of Cargo's.
    Dependency,
    /// What allocates for everyone: allocator, standard library, C runtime, and this crate.
    Runtime,
}

/// The frame that a reader wants to see named: the innermost of the application that is not [`on_behalf`] of another;
/// failing that the innermost of the application, of a library, of `std` (what it sets up for itself), of all. `frames`
/// come innermost first.
pub(super) fn growth_site<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> Option<&'a Frame> {
    let innermost = |wanted: &dyn Fn(&Frame) -> bool| frames.clone().find(|frame| wanted(frame));
    innermost(&|frame| frame.owner == Owner::Application && !on_behalf(&frame.function))
        .or_else(|| innermost(&|frame| frame.owner == Owner::Application))
        .or_else(|| innermost(&|frame| frame.owner == Owner::Dependency))
        .or_else(|| innermost(&|frame| crate_of(&frame.function) == Some("std")))
        .or_else(|| innermost(&|_| true))
}

/// Whether a function only does what its caller asked for: cloning and serde's traits, mostly derived, so that their line is
/// that of a `#[derive]`, which tells nothing of who keeps the copy.
fn on_behalf(function: &str) -> bool {
    // An inlined function has no path in the line tables: `serialize<...>`, with its type parameters.
    const SERDE: [&str; 5] = ["serialize<", "deserialize<", "visit_map<", "visit_seq<", "visit_enum<"];
    function == "clone"
        || function.ends_with("core::clone::Clone>::clone")
        || [" as serde", "<impl serde"].iter().any(|within| function.contains(within))
        || SERDE.iter().any(|start| function.starts_with(start))
}

/// Whose code it is, from the function's demangled name and the file's full path, if there is one.
pub(super) fn owner(function: &str, file: Option<&Path>) -> Owner {
    let name = crate_of(function);
    if matches!(name, Some("leakscope" | "tikv_jemallocator" | "__rustc")) || function.starts_with("__rust") {
        return Owner::Runtime; // `__rust_alloc` stands at the line of `#[global_allocator]`: the application's file
    }
    let Some(file) = file else {
        return match name {
            None | Some("std" | "core" | "alloc" | "hashbrown") => Owner::Runtime,
            Some(_) => Owner::Dependency,
        };
    };
    let file = file.to_string_lossy();
    let within = |part: &str| file.contains(part);
    let is_std = ["/rustc/", "/rust/deps/"].iter().any(|start| file.starts_with(start)) || within(RUST_SRC);
    let is_jemalloc_in_c = within("jemalloc") && (file.ends_with(".c") || file.ends_with(".h"));
    if is_std
        || is_jemalloc_in_c
        || within("/tikv-jemalloc")
        || own_source().is_some_and(|own| file.starts_with(own))
    {
        Owner::Runtime
    } else if within(REGISTRY) || within(GIT_CHECKOUTS) {
        Owner::Dependency
    } else {
        Owner::Application
    }
}

const REGISTRY: &str = "/registry/src/";
const GIT_CHECKOUTS: &str = "/git/checkouts/";
const RUST_SRC: &str = "/lib/rustlib/src/rust/";

/// The crate in a demangled name: `<alloc::vec::Vec<T> as ...>::push` -> `alloc`. `None` for what has no path: C.
fn crate_of(function: &str) -> Option<&str> {
    let mut name = function;
    while let Some(rest) =
        ["<", "&", "*", "[", "(", "mut ", "const ", "dyn "].iter().find_map(|p| name.strip_prefix(p))
    {
        name = rest;
    }
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    // A path goes on with `::`, a v0 name may put the crate's hash between: `std[5e1f]::rt`.
    (end > 0 && (name[end..].starts_with("::") || name[end..].starts_with('['))).then(|| &name[..end])
}

/// A path as a reader knows it: `src/cache.rs` for a file of the workspace that leakscope was built in,
/// `service/src/cache.rs` for one of another, `hyper-1.8.1/src/lib.rs` for a library's, `library/std/src/rt.rs` for
/// the standard library's. It follows from the path alone, so that the same line has the same name in every snapshot.
pub(super) fn readable_path(file: &Path) -> String {
    let file = without_parent_folders(file);
    let file = file.to_string_lossy();
    let after = |marker: &str, skip: usize| {
        let mut rest = &file[file.find(marker)? + marker.len()..];
        for _ in 0..skip {
            rest = &rest[rest.find('/')? + 1..];
        }
        Some(rest)
    };
    workspace_root()
        .and_then(|root| file.strip_prefix(root))
        .or_else(|| after(REGISTRY, 1)) // index-1949cf8c6b5b557f/
        .or_else(|| after(GIT_CHECKOUTS, 0))
        .or_else(|| after(RUST_SRC, 0))
        .or_else(|| after("/rustc/", 1)) // commit hash
        .or_else(|| from_package_folder(&file))
        .unwrap_or(&file)
        .to_owned()
}

/// `/srv/shop/src/cache/../../own/cache.rs` -> `/srv/shop/own/cache.rs`: a module with a `#[path]` has such a name.
fn without_parent_folders(file: &Path) -> PathBuf {
    file.components().fold(PathBuf::new(), |mut path, part| {
        let folder_above = part == Component::ParentDir && path.file_name().is_some();
        if folder_above {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

/// `/home/me/service/src/cache.rs` -> `service/src/cache.rs`: from the folder that holds Cargo's source folder.
fn from_package_folder(file: &str) -> Option<&str> {
    let source = ["/src/", "/tests/", "/examples/", "/benches/"]
        .iter()
        .filter_map(|folder| file.rfind(folder))
        .max()?;
    let package = file[..source].rfind('/')? + 1;
    Some(&file[package..])
}

const THIS_FILE: &str = "src/heap/frame.rs";

/// Root of the workspace that leakscope was built in, with a slash at its end; `None` when it came from a registry.
fn workspace_root() -> Option<&'static str> {
    // Cargo gives rustc the members' files relative to the workspace, and others' in full.
    let package = file!().strip_suffix(THIS_FILE)?;
    if Path::new(package).is_absolute() {
        return None;
    }
    own_source()?.strip_suffix("src/")?.strip_suffix(package)
}

/// Where this crate's own sources lie, with a slash at the end.
fn own_source() -> Option<&'static str> {
    Some(concat!(env!("CARGO_MANIFEST_DIR"), "/src/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_whose_code_it_is() {
        use Owner::{Application, Dependency, Runtime};
        let cases = [
            ("shop::cache::store", Some("/srv/shop/src/cache.rs"), Application),
            ("shop::cache::store::{{closure}}", Some("/srv/shop/src/cache.rs"), Application),
            ("store", Some("/srv/shop/src/cache.rs"), Application), // inlined functions may have short names
            ("<shop::Cart as serde::Serialize>::serialize", Some("/srv/shop/src/cart.rs"), Application),
            (
                "serde_json::to_vec",
                Some("/home/me/.cargo/registry/src/index-1949/serde_json-1.0/src/ser.rs"),
                Dependency,
            ),
            ("wire::read", Some("/home/me/.cargo/git/checkouts/wire-12ab/34cd/src/lib.rs"), Dependency),
            ("hyper::proto::h1::io::Buffered<T>::poll", None, Dependency),
            ("<bytes::BytesMut as bytes::BufMut>::put", None, Dependency),
            ("alloc::raw_vec::finish_grow", None, Runtime),
            ("<alloc::vec::Vec<T> as core::clone::Clone>::clone", None, Runtime),
            ("<&mut core::fmt::Formatter>::write", None, Runtime),
            ("std[5e1f]::rt::lang_start", None, Runtime),
            ("alloc::vec::Vec<T>::push", Some("/rustc/59807616e/library/alloc/src/vec/mod.rs"), Runtime),
            (
                "push",
                Some("/home/me/.rustup/toolchains/x/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs"),
                Runtime,
            ),
            ("insert", Some("/rust/deps/hashbrown-0.16.1/src/raw.rs"), Runtime),
            ("__rust_alloc", Some("/srv/shop/src/main.rs"), Runtime),
            ("__rustc::__rust_realloc", Some("/srv/shop/src/main.rs"), Runtime),
            ("__rustc[5e1f]::__rust_alloc_zeroed", Some("/srv/shop/src/main.rs"), Runtime),
            (
                "imalloc_body",
                Some("/srv/shop/target/release/build/tikv-jemalloc-sys-1/out/build/src/jemalloc.c"),
                Runtime,
            ),
            (
                "leakscope::heap::profiler::Profiler::start",
                Some("/srv/leakscope/src/heap/profiler.rs"),
                Runtime,
            ),
            ("clone3", None, Runtime),
            ("main", None, Runtime),
        ];
        for (function, file, wanted) in cases {
            assert_eq!(owner(function, file.map(Path::new)), wanted, "{function} {file:?}");
        }
        let own = format!("{}/src/heap/mod.rs", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(owner("with_capacity", Some(Path::new(&own))), Runtime);
        let example = format!("{}/examples/mount.rs", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(owner("mount::main", Some(Path::new(&example))), Application);
    }

    #[test]
    fn names_the_application_then_libraries_then_the_rest() {
        let frame =
            |function: &str, owner| Frame { function: function.into(), file: "".into(), line: 0, owner };
        let stack = [
            frame("malloc", Owner::Runtime),
            frame("serde_json::to_vec", Owner::Dependency),
            frame("shop::store", Owner::Application),
            frame("shop::main", Owner::Application),
        ];
        let start = [frame("malloc", Owner::Runtime), frame("std::rt::init", Owner::Runtime)];
        let named = |stack: &[Frame]| growth_site(stack.iter()).map(|frame| frame.function.to_string());
        assert_eq!(named(&stack).as_deref(), Some("shop::store"));
        assert_eq!(named(&stack[..2]).as_deref(), Some("serde_json::to_vec"));
        assert_eq!(named(&start).as_deref(), Some("std::rt::init"));
        assert_eq!(named(&stack[..1]).as_deref(), Some("malloc"));
        assert_eq!(named(&[]), None);

        for derived in [
            "<shop::Cart as core::clone::Clone>::clone",
            "clone",
            "shop::_::<impl serde_core::ser::Serialize for shop::Cart>::serialize",
            "serialize<&mut serde_json::ser::Serializer<&mut Vec<u8>>>",
            "<shop::_::<impl Deserialize for shop::Cart>::deserialize::__Visitor as serde_core::de::Visitor>::visit_map",
        ] {
            let stack = [frame(derived, Owner::Application), frame("shop::store", Owner::Application)];
            assert_eq!(named(&stack).as_deref(), Some("shop::store"), "{derived}");
            assert_eq!(named(&stack[..1]).as_deref(), Some(derived), "nobody else is there");
        }
    }

    #[test]
    fn paths_are_readable() {
        let root = workspace_root().expect("tests are built in the workspace");
        let cases = [
            (format!("{root}src/leaks/cache/leaky.rs"), "src/leaks/cache/leaky.rs"),
            (format!("{root}crates/leakscope/examples/mount.rs"), "crates/leakscope/examples/mount.rs"),
            ("/home/me/src/shop/src/cache.rs".into(), "shop/src/cache.rs"),
            (
                "/home/me/.cargo/registry/src/index-1949/hyper-1.8.1/src/lib.rs".into(),
                "hyper-1.8.1/src/lib.rs",
            ),
            ("/rustc/59807616e/library/std/src/rt.rs".into(), "library/std/src/rt.rs"),
            ("/x/lib/rustlib/src/rust/library/std/src/rt.rs".into(), "library/std/src/rt.rs"),
            ("/odd/place.rs".into(), "/odd/place.rs"),
            ("src/main.rs".into(), "src/main.rs"),
            (format!("{root}src/leaks/cache/../../../exercises/cache.rs"), "exercises/cache.rs"),
            ("src/cache/../own/./cache.rs".into(), "src/own/cache.rs"),
            ("../../cache.rs".into(), "../../cache.rs"),
        ];
        for (path, wanted) in cases {
            assert_eq!(readable_path(Path::new(&path)), wanted);
        }
    }
}
