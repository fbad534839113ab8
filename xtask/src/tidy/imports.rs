//! Who imports whom, in the code: between rooms, as the table allows, and between files, without circles.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    paths::{Path, paths_of},
    rooms::{CRATES, Crate},
    source::code_of,
    tree::Tree,
};

/// A re-export of a re-export, and so on, is followed this far.
const HOPS: usize = 8;

/// A source file as a module.
struct Module<'a> {
    path: &'a str,
    /// What it is named from the crate's root; empty for the root itself.
    at: Vec<String>,
    paths: Vec<Path>,
}

/// The arrow from one file to another: the first line that draws it, and what is written there.
struct Import {
    line: usize,
    written: String,
}

/// What is wrong with the imports of that crate.
pub fn problems(rules: &Crate, tree: &Tree) -> Vec<String> {
    let sources = Sources::read(rules, tree);
    let arrows = sources.arrows();
    let mut problems = sources.unknown_rooms();
    problems.extend(sources.forbidden(&arrows));
    problems.extend(sources.foreign());
    problems.extend(sources.circles(&arrows));
    problems
}

struct Sources<'a> {
    rules: &'a Crate,
    modules: Vec<Module<'a>>,
}

type Arrows = BTreeMap<(usize, usize), Import>;

impl<'a> Sources<'a> {
    fn read(rules: &'a Crate, tree: &'a Tree) -> Self {
        let files = tree.below(rules.sources, ".rs").filter_map(|(path, text)| {
            let inner = path.strip_prefix(rules.sources)?.strip_prefix('/')?;
            let inner = inner.strip_suffix("/mod.rs").unwrap_or(inner.trim_end_matches(".rs"));
            let at: Vec<String> =
                if inner == "lib" { Vec::new() } else { inner.split('/').map(str::to_owned).collect() };
            // The binary's file is no module of the library.
            (at != ["main"]).then(|| (path, at, code_of(text)))
        });
        let files: Vec<_> = files.collect();
        let declared = |at: &[String]| {
            let Some((name, parent)) = at.split_last() else { return true };
            let parent = files.iter().find(|(_, other, _)| other == parent);
            // A module that only tests see is declared in nothing that is left of its parent.
            parent.is_some_and(|(_, _, code)| code.contains(&format!("mod {name};")))
        };
        let modules = files.iter().filter(|(_, at, _)| declared(at)).map(|(path, at, code)| {
            let children =
                files.iter().filter(|(_, other, _)| other.len() == at.len() + 1 && other.starts_with(at));
            let mut roots: Vec<&str> =
                children.filter_map(|(_, other, _)| other.last()).map(String::as_str).collect();
            roots.extend(["crate", "self", "super"]);
            roots.extend(CRATES.iter().map(|other| other.name));
            Module { path, at: at.clone(), paths: paths_of(code, &roots) }
        });
        let modules = modules.collect();
        Self { rules, modules }
    }

    /// From the crate's root, where the path leads to something of this crate.
    fn absolute(&self, from: &Module, path: &Path) -> Option<Vec<String>> {
        let mut base = from.at.clone();
        let mut rest = &path.segments[..];
        match rest[0].as_str() {
            "crate" => (base, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            other if CRATES.iter().any(|one| one.name == other) => return None,
            _ => {}
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module in which what the path names is written: re-exports are followed.
    fn home(&self, absolute: &[String], hops: usize) -> Option<usize> {
        let prefix = (0..=absolute.len()).rev();
        let (length, module) = prefix
            .filter_map(|length| {
                Some((length, self.modules.iter().position(|module| module.at == absolute[..length])?))
            })
            .next()?;
        let taken = absolute.get(length).filter(|_| hops < HOPS);
        let exports = &self.modules[module].paths;
        let export =
            taken.and_then(|name| exports.iter().find(|path| path.name == *name && path.segments.len() > 1));
        let further = export.and_then(|path| self.absolute(&self.modules[module], path));
        further.and_then(|further| self.home(&further, hops + 1)).or(Some(module))
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (from, module) in self.modules.iter().enumerate() {
            for path in &module.paths {
                let Some(absolute) = self.absolute(module, path) else { continue };
                // A module puts its own parts together; that is no import.
                if absolute.len() > module.at.len() && absolute.starts_with(&module.at) {
                    continue;
                }
                let Some(to) = self.home(&absolute, 0).filter(|to| *to != from) else { continue };
                let import = || Import { line: path.line, written: path.segments.join("::") };
                arrows.entry((from, to)).or_insert_with(import);
            }
        }
        arrows
    }

    /// `None`: the crate's root, and what only puts rooms together.
    fn room(&self, module: usize) -> Option<&str> {
        self.modules[module].at.first().map(String::as_str).filter(|room| *room != "macros")
    }

    fn may_import(&self, room: &str) -> Option<&'static [&'static str]> {
        self.rules.rooms.iter().find(|rule| rule.name == room).map(|rule| rule.may_import)
    }

    fn unknown_rooms(&self) -> Vec<String> {
        let sources = self.rules.sources;
        let are: BTreeSet<&str> = (0..self.modules.len()).filter_map(|module| self.room(module)).collect();
        let missing = self.rules.rooms.iter().filter(|rule| !are.contains(rule.name));
        let missing = missing
            .map(|rule| format!("{sources}: there is no room {}, which xtask's rooms.rs names", rule.name));
        let unknown = are.iter().filter(|room| self.may_import(room).is_none());
        let unknown =
            unknown.map(|room| format!("{sources}/{room}: the room {room} is not in xtask's rooms.rs"));
        missing.chain(unknown).collect()
    }

    fn forbidden(&self, arrows: &Arrows) -> Vec<String> {
        let forbidden = arrows.iter().filter_map(|((from, to), import)| {
            let (room, other) = (self.room(*from)?, self.room(*to)?);
            let may = self.may_import(room)?;
            (room != other && !may.contains(&other))
                .then(|| self.refused(&self.modules[*from], import, other))
        });
        forbidden.collect()
    }

    /// Paths into other crates of ours.
    fn foreign(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (number, module) in self.modules.iter().enumerate() {
            let Some(may) = self.room(number).and_then(|room| self.may_import(room)) else { continue };
            for other in
                CRATES.iter().filter(|other| other.name != self.rules.name && !may.contains(&other.name))
            {
                if let Some(path) = module.paths.iter().find(|path| path.segments[0] == other.name) {
                    let import = Import { line: path.line, written: path.segments.join("::") };
                    problems.push(self.refused(module, &import, other.name));
                }
            }
        }
        problems
    }

    fn refused(&self, module: &Module, import: &Import, other: &str) -> String {
        let room = &module.at[0];
        let may = self.may_import(room).unwrap_or_default();
        let may = if may.is_empty() { "nothing of ours".to_owned() } else { may.join(", ") };
        let Import { line, written } = import;
        format!("{}:{line}: room {room} may not import {other} ({written}); it may import {may}", module.path)
    }

    /// Circles between rooms, then between the files of one room.
    fn circles(&self, arrows: &Arrows) -> Vec<String> {
        let mut rooms = BTreeMap::new();
        let mut files = BTreeMap::new();
        for ((from, to), import) in arrows {
            let (Some(room), Some(other)) = (self.room(*from), self.room(*to)) else { continue };
            let (path, other_path) = (self.modules[*from].path, self.modules[*to].path);
            let place = format!("{path}:{}", import.line);
            if room == other {
                files.entry((path, other_path)).or_insert(place);
            } else {
                rooms.entry((room, other)).or_insert(place);
            }
        }
        [("rooms", rooms), ("files", files)]
            .iter()
            .flat_map(|(what, arrows)| {
                circles(arrows).into_iter().map(move |arrows| {
                    format!("{}: these {what} import each other: {}", self.rules.sources, arrows.join("; "))
                })
            })
            .collect()
    }
}

/// Each knot of names that reach one another, as its arrows in words.
fn circles(arrows: &BTreeMap<(&str, &str), String>) -> Vec<Vec<String>> {
    fn reaches<'a>(from: &'a str, arrows: &BTreeMap<(&'a str, &'a str), String>) -> BTreeSet<&'a str> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(here) = next.pop() {
            let there = arrows.keys().filter(|(source, _)| *source == here).map(|(_, target)| *target);
            next.extend(there.filter(|target| seen.insert(*target)));
        }
        seen
    }
    let names: BTreeSet<&str> = arrows.keys().map(|(source, _)| *source).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        names.iter().map(|name| (*name, reaches(name, arrows))).collect();
    let both = |one: &str, other: &str| {
        let there = reached.get(one).is_some_and(|seen| seen.contains(other));
        there && reached.get(other).is_some_and(|seen| seen.contains(one))
    };
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for name in names {
        if !both(name, name) || told.contains(name) {
            continue;
        }
        let knot: Vec<_> = arrows
            .iter()
            .filter(|((source, target), _)| both(name, source) && both(source, target))
            .collect();
        told.extend(knot.iter().map(|((source, _), _)| *source));
        found.push(
            knot.iter().map(|((source, target), place)| format!("{source} -> {target} ({place})")).collect(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Tree, problems};
    use crate::tidy::rooms::{Crate, Room};

    const RULES: Crate = Crate {
        name: "leaklab",
        sources: "src",
        rooms: &[
            Room { name: "low", may_import: &[] },
            Room { name: "high", may_import: &["leakscope", "low"] },
        ],
    };

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        problems(&RULES, &Tree::of(files))
    }

    #[test]
    fn an_arrow_against_the_table_is_named_with_its_line() {
        let lib = ("src/lib.rs", "pub mod low;\npub mod high;\npub use high::Top;");
        let low =
            ("src/low.rs", "// crate::high is above\nfn a() -> crate::high::B {}\nuse leakscope::heap;");
        let high =
            ("src/high/mod.rs", "mod part;\nuse crate::low::C;\nuse leakscope::trend;\npub use part::B;");
        let part = ("src/high/part.rs", "pub struct B;");
        assert_eq!(
            found(&[lib, low, high, part]),
            [
                "src/low.rs:2: room low may not import high (crate::high::B); it may import nothing of ours",
                "src/low.rs:3: room low may not import leakscope (leakscope::heap); it may import nothing of ours",
                "src: these rooms import each other: high -> low (src/high/mod.rs:2); low -> high (src/low.rs:2)",
            ]
        );
        // What the root hands on is imported from where it is.
        let low = ("src/low.rs", "use crate::Top;");
        assert!(
            found(&[lib, low, ("src/high/mod.rs", "pub struct Top;")])[0]
                .contains("may not import high (crate::Top)")
        );
    }

    #[test]
    fn files_of_one_room_form_no_circle_by_what_their_module_hands_on() {
        let lib = ("src/lib.rs", "mod low; mod high;");
        let low = ("src/low.rs", "");
        let high = ("src/high/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;");
        let a = ("src/high/a.rs", "use super::B;");
        assert_eq!(found(&[lib, low, high, a, ("src/high/b.rs", "pub struct B;")]), [""; 0]);
        let circle = found(&[
            lib,
            low,
            high,
            a,
            ("src/high/b.rs", "#[cfg(test)]\nuse super::C;\nfn c(_: super::A) {}"),
        ]);
        assert_eq!(
            circle,
            ["src: these files import each other: src/high/a.rs -> src/high/b.rs (src/high/a.rs:1); \
              src/high/b.rs -> src/high/a.rs (src/high/b.rs:3)"]
        );
    }

    #[test]
    fn a_room_is_in_the_table_and_in_the_code() {
        let found = found(&[("src/lib.rs", "mod low; mod other;"), ("src/low.rs", ""), ("src/other.rs", "")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("no room high") && found[1].contains("room other is not in"), "{found:?}");
    }
}
