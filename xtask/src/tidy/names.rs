//! One word for one type: a public name is given once in a crate, and not again in the other one.

use std::collections::BTreeMap;

use super::{
    rooms::CRATES,
    source::{code_of, is_word, line_of},
    tree::Tree,
};

/// Names that several types have for a good reason.
const ALLOWED: &[(&str, &str)] = &[
    ("Arguments", "each command's own, in the command's module"),
    ("Error", "each room's own error, written with the room's name: `heap::Error`"),
    ("Profiler", "one is compiled with the feature `jemalloc`, the other without it"),
    ("Sample", "`memory::Sample` and `trend::Sample` are what users of 0.1 construct"),
];

/// Every name that is given twice.
pub fn problems(tree: &Tree) -> Vec<String> {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for one in CRATES {
        for (path, text) in tree.below(one.sources, ".rs") {
            let code = code_of(text);
            for (line, name) in public_types(&code) {
                places.entry(name).or_default().push(format!("{path}:{line}"));
            }
        }
    }
    let allowed = |name: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == name);
    let twice = places.iter().filter(|(name, places)| places.len() > 1 && !allowed(name));
    let twice = twice.map(|(name, places)| {
        format!("{}: the public name {name} is given again: {}", places[0], places[1..].join(", "))
    });
    let stale = ALLOWED.iter().filter(|(name, _)| places.get(*name).is_none_or(|places| places.len() < 2));
    let stale = stale.map(|(name, _)| {
        format!("xtask/src/tidy/names.rs: {name} is given once at most; take it out of what is allowed")
    });
    twice.chain(stale).collect()
}

/// Line and name of each `pub struct`, `pub enum`, `pub trait` and `pub union`.
fn public_types(code: &str) -> impl Iterator<Item = (usize, String)> {
    let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub union "];
    kinds.into_iter().flat_map(move |kind| {
        code.match_indices(kind).map(move |(at, _)| {
            let name =
                code[at + kind.len()..].bytes().take_while(|byte| is_word(*byte)).map(char::from).collect();
            (line_of(code, at), name)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Tree, problems};

    #[test]
    fn a_name_that_is_given_twice_is_told_with_its_places() {
        let tree = Tree::of(&[
            ("src/a.rs", "pub struct Place;\npub(crate) struct Mine;"),
            ("src/b.rs", "/// pub enum Other\nstruct Mine;"),
            ("crates/leakscope/src/c.rs", "\npub enum Place {}\npub struct Other<T>(T);"),
        ]);
        let found = problems(&tree);
        assert_eq!(found.iter().filter(|line| !line.starts_with("xtask")).count(), 1, "{found:?}");
        assert_eq!(found[0], "crates/leakscope/src/c.rs:2: the public name Place is given again: src/a.rs:1");
    }
}
