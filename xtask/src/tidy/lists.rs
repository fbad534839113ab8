//! Lists in documents, held against the code that they list. What a test of the service holds already is not repeated here:
//! `--help` and the variables, `/openapi.json` and the routes, `/metrics` and its table, `/admin/labs` and the labs' titles.

use std::collections::BTreeSet;

use super::{
    rooms::{CRATES, Crate},
    source::line_of,
    tree::Tree,
};
use crate::COMMANDS;

const METRICS: &str = "tests/it/metrics.rs";
/// The instrument's HTTP face, and the table in its first lines.
const FACE: &str = "crates/leakscope/src/http/";
const FACE_TABLE: &str = "crates/leakscope/src/http/mod.rs";

/// Everything that a document lists and the code does not have, and what of the code a list leaves out.
pub fn problems(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for one in CRATES {
        problems.extend(map_of_rooms(one, tree));
    }
    problems.extend(routes(tree));
    problems.extend(metrics(tree));
    problems.extend(labs(tree));
    for (path, text) in tree.below("", ".md") {
        problems.extend(variables(path, text, tree));
        problems.extend(places(path, text, tree));
        problems.extend(commands(path, text));
    }
    problems
}

/// `| \`room\` | what it is for | what it may import |` below the crate's heading in the map, against the table.
fn map_of_rooms(one: &Crate, tree: &Tree) -> Vec<String> {
    const MAP: &str = "ARCHITECTURE.md";
    let heading = format!("### {}\n", one.name);
    let Some((_, below)) = tree.text(MAP).split_once(&heading) else {
        return vec![format!("{MAP}: there is no heading \"{}\"", heading.trim())];
    };
    let below = below.split("\n#").next().unwrap_or_default();
    let rows = below.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (quoted(cells[0]).concat(), cells.last().map_or_else(Vec::new, |cell| quoted(cell)))
    });
    let shown: BTreeSet<(String, String)> = rows.map(|(room, imports)| (room, imports.join(", "))).collect();
    let table = one.rooms.iter().map(|room| (room.name.to_owned(), room.may_import.join(", ")));
    let table: BTreeSet<_> = table.collect();
    let differs = table.symmetric_difference(&shown).map(|(room, imports)| {
        let whose = if shown.contains(&(room.clone(), imports.clone())) { MAP } else { "xtask's rooms.rs" };
        format!("{MAP}: {}: only {whose} says that {room} may import: {imports}", one.name)
    });
    differs.collect()
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What leakscope serves, against the tables of its module and its README.
fn routes(tree: &Tree) -> Vec<String> {
    let served: BTreeSet<String> = tree.below(FACE, ".rs").flat_map(|(_, code)| routes_in(code)).collect();
    let mut problems = Vec::new();
    if served.is_empty() {
        problems
            .push(format!("{FACE}: no route is found there; xtask's lists.rs reads `\"GET\", \"/path\"`"));
    }
    for (document, lists_all) in [(FACE_TABLE, true), ("crates/leakscope/README.md", false)] {
        let rows =
            tree.text(document).lines().filter(|line| line.trim_start_matches("//! ").starts_with("| "));
        let listed: BTreeSet<String> = rows
            .flat_map(quoted)
            .filter(|word| ["GET /debug", "POST /debug"].iter().any(|begin| word.starts_with(begin)))
            .map(str::to_owned)
            .collect();
        let unserved = listed.difference(&served);
        problems
            .extend(unserved.map(|route| format!("{document}: lists {route}, which {FACE} does not serve")));
        if lists_all {
            let unlisted = served.difference(&listed);
            problems.extend(unlisted.map(|route| format!("{document}: does not list {route}")));
        }
    }
    problems
}

/// `"GET", "/debug/memory"` -> `GET /debug/memory`
fn routes_in(code: &str) -> impl Iterator<Item = String> {
    ["GET", "POST"].into_iter().flat_map(move |method| {
        let opening = format!("\"{method}\", \"/");
        let paths: Vec<_> = code.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        paths.into_iter().map(move |path| format!("{method} /{path}"))
    })
}

/// The service's metrics that documents and dashboards name, against the table that a test holds against `/metrics`.
fn metrics(tree: &Tree) -> Vec<String> {
    const OURS: &[&str] =
        &["http_request", "jemalloc_", "leak_", "memory_", "previous_run_", "process_", "trace_spans_"];
    const ENDINGS: &[&str] =
        &["_bytes", "_total", "_seconds", "_seconds_bucket", "_per_second", "_entries", "_verdict"];
    let table = tree.text(METRICS);
    let words = |text: &str| -> BTreeSet<String> {
        let split =
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
        split
            .filter(|word| {
                OURS.iter().any(|begin| word.starts_with(begin))
                    && ENDINGS.iter().any(|end| word.ends_with(end))
            })
            .map(str::to_owned)
            .collect()
    };
    let known = |word: &str| table.contains(&format!("(\"{}\",", word.trim_end_matches("_bucket")));
    let documents = tree.below("", ".md").map(|(path, text)| (path, quoted(text).join(" ")));
    let dashboards = tree.below("grafana/dashboards/", ".json").chain(tree.below("prometheus/", ".yml"));
    let documents = documents.chain(dashboards.map(|(path, text)| (path, text.to_owned())));
    documents
        .flat_map(|(path, text)| {
            let recorded = tree.text("prometheus/rules.yml");
            let unknown = words(&text)
                .into_iter()
                .filter(|word| !known(word) && !recorded.contains(&format!("record: {word}")));
            unknown
                .map(move |word| format!("{path}: names the metric {word}, which is not in {METRICS}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Each lab's file against the index of labs.
fn labs(tree: &Tree) -> Vec<String> {
    const INDEX: &str = "labs/README.md";
    let files =
        tree.below("labs/", ".md").map(|(path, _)| path).filter(|path| path.as_bytes()[5].is_ascii_digit());
    let unlisted = files.filter(|path| !tree.text(INDEX).contains(&format!("]({}", &path[5..])));
    unlisted.map(|path| format!("{INDEX}: does not list {path}")).collect()
}

/// Environment variables that a document names, against every one that something reads.
fn variables(path: &str, text: &str, tree: &Tree) -> Vec<String> {
    let names = text.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_').filter(|word| {
        ["LEAKLAB_", "OTEL_"].iter().any(|begin| word.starts_with(begin) && word.len() > begin.len())
    });
    let read = |name: &str| {
        let (literal, shell) = (format!("\"{name}\""), format!("${{{name}"));
        tree.0.iter().any(|(file, text)| {
            file.ends_with(".rs") && text.contains(&literal)
                || !file.ends_with(".md") && text.contains(&shell)
        })
    };
    let unread = names.filter(|name| !read(name)).collect::<BTreeSet<_>>();
    unread.iter().map(|name| format!("{path}: names the variable {name}, which nothing reads")).collect()
}

/// Files of this repository that a document links to, or names in backticks, with a test in it (`tests/it/a.rs::works`) or
/// without: they are there.
fn places(path: &str, text: &str, tree: &Tree) -> Vec<String> {
    const FOLDERS: &[&str] =
        &[".ci/", ".cargo/", "benches/", "crates/", "exercises/", "k6/", "labs/", "src/", "tests/", "xtask/"];
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let named = text.match_indices('`').filter_map(|(at, _)| {
        let word = text[at + 1..].split('`').next()?;
        let (file, test) = word.split_once("::").unwrap_or((word.split(':').next()?, ""));
        let file = file.trim_end_matches('/');
        let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        (plain && FOLDERS.iter().any(|folder| file.starts_with(folder))).then_some((at, file, test))
    });
    let named = named.filter_map(|(at, file, test)| {
        let there = tree.has(file) || tree.has(&format!("{folder}/{file}"));
        let missing_test = !test.is_empty() && !tree.text(file).contains(&format!("fn {test}("));
        let missing = if missing_test { format!("{file}::{test}") } else { file.to_owned() };
        (!there || missing_test).then_some((at, missing))
    });
    let linked = text.match_indices("](").filter_map(|(at, _)| {
        let target = text[at + 2..].split([')', '#']).next()?;
        let outside = target.is_empty() || target.contains("://") || target.contains(' ');
        let target = if folder.is_empty() { target.to_owned() } else { format!("{folder}/{target}") };
        (!outside && !tree.has(&without_dots(&target))).then_some((at, target))
    });
    named
        .chain(linked)
        .map(|(at, word)| format!("{path}:{}: names {word}, which is not there", line_of(text, at)))
        .collect()
}

/// `labs/../src` -> `src`
fn without_dots(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `cargo xtask NAME` in a document is a command that there is; and CONTRIBUTING.md lists all.
fn commands(path: &str, text: &str) -> Vec<String> {
    let named = text
        .split("cargo xtask ")
        .skip(1)
        .filter_map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase()).next());
    let named: BTreeSet<&str> = named.filter(|name| !name.is_empty()).collect();
    let there: BTreeSet<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let unknown = named
        .difference(&there)
        .map(|name| format!("{path}: names `cargo xtask {name}`, which does not exist"));
    let unnamed = there.difference(&named).filter(|_| path == "CONTRIBUTING.md");
    unknown.chain(unnamed.map(|name| format!("{path}: does not name `cargo xtask {name}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Tree, commands, labs, map_of_rooms, metrics, places, routes, variables};
    use crate::tidy::rooms::{Crate, Room};

    #[test]
    fn the_map_shows_the_table() {
        let rules = Crate {
            name: "one",
            sources: "src",
            rooms: &[Room { name: "a", may_import: &[] }, Room { name: "b", may_import: &["a"] }],
        };
        let map = |rows: &str| {
            Tree::of(&[("ARCHITECTURE.md", &*format!("### one\n\n{rows}\n### two\n| `z` | | |\n"))])
        };
        assert_eq!(map_of_rooms(&rules, &map("| `a` | it | nothing |\n| `b` | it `is` | `a` |\n")), [""; 0]);
        let found = map_of_rooms(&rules, &map("| `a` | it | `b` |\n"));
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn what_a_document_names_is_there() {
        let tree = Tree::of(&[
            ("README.md", ""),
            ("src/a.rs", "read(\"LEAKLAB_A\")"),
            ("run.yml", "${LEAKLAB_B:-1}"),
            ("labs/1-x.md", ""),
            ("labs/README.md", "[1](1-x.md)"),
            ("labs/2-y.md", ""),
        ]);
        let found = variables("README.md", "LEAKLAB_A, `LEAKLAB_B` and LEAKLAB_C", &tree);
        assert_eq!(found, ["README.md: names the variable LEAKLAB_C, which nothing reads"]);
        let found = places(
            "labs/README.md",
            "`src/a.rs:5` `src/b.rs` `src/a.rs::works`\n[a](1-x.md#there) [b](../c.md) [d](https://e)",
            &tree,
        );
        let expected = [
            "labs/README.md:1: names src/b.rs, which is not there",
            "labs/README.md:1: names src/a.rs::works, which is not there",
            "labs/README.md:2: names labs/../c.md, which is not there",
        ];
        assert_eq!(found, expected);
        assert_eq!(labs(&tree), ["labs/README.md: does not list labs/2-y.md"]);
        assert_eq!(commands("README.md", "`cargo xtask tidy` and `cargo xtask unicorn`").len(), 1);
    }

    #[test]
    fn routes_and_metrics_are_those_of_the_code() {
        let tree = Tree::of(&[
            (
                "crates/leakscope/src/http/routes.rs",
                "route(\"GET\", \"/debug/a\", x), route(\"POST\", \"/debug/b\", y)",
            ),
            ("crates/leakscope/src/http/mod.rs", "//! | `GET /debug/a` | it |\n//! | `GET /debug/c` | it |"),
            ("tests/it/metrics.rs", "(\"leak_entries\", "),
            ("README.md", "`leak_entries` and `leak_held_bytes{leak=\"x\"}`"),
        ]);
        assert_eq!(routes(&tree).len(), 2, "{:?}", routes(&tree));
        assert_eq!(
            metrics(&tree),
            ["README.md: names the metric leak_held_bytes, which is not in tests/it/metrics.rs"]
        );
    }
}
