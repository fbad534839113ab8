//! What holds for every text of the repository: how long a source may be, and that no text names a folder of one machine.

use super::{source::line_of, tree::Tree};

/// Longer files are several rooms in one.
const MOST_LINES: usize = 400;

/// Folders of a person or a machine. In two halves, so that this file does not name them itself.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Use", "rs/")];
/// The example user of tests that read paths.
const EXAMPLE: &str = concat!("/ho", "me/me/");

/// Every text that breaks a rule.
pub fn problems(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in &tree.0 {
        let lines = text.lines().count();
        let is_source =
            [".rs", ".js"].iter().any(|ending| path.ends_with(ending)) || path.starts_with(".ci/");
        if is_source && lines > MOST_LINES {
            problems.push(format!("{path}: {lines} lines; a source has at most {MOST_LINES}"));
        }
        problems
            .extend(machine_path(text).map(|line| format!("{path}:{line}: names a folder of one machine")));
    }
    problems
}

/// The first line that does. `src/work/a.rs` and `https://host/work/` are no such folder: something stands before the slash.
fn machine_path(text: &str) -> Option<usize> {
    let starts = |at: usize| {
        !text[..at].ends_with(|before: char| before.is_alphanumeric() || "/._-})".contains(before))
    };
    let places = MACHINE_PATHS.iter().flat_map(|folder| text.match_indices(folder));
    let first = places.map(|(at, _)| at).filter(|at| starts(*at) && !text[*at..].starts_with(EXAMPLE)).min();
    first.map(|at| line_of(text, at))
}

#[cfg(test)]
mod tests {
    use super::{EXAMPLE, MACHINE_PATHS, MOST_LINES, Tree, problems};

    #[test]
    fn long_sources_and_machine_paths_are_told() {
        let long = "x\n".repeat(MOST_LINES + 1);
        let named = format!("a\nb {}c", MACHINE_PATHS[0]);
        let fine = format!("https://host{0} src{0} {EXAMPLE}", MACHINE_PATHS[0]);
        let tree = Tree::of(&[("a.rs", &long), ("b.json", &long), ("c.md", &named), ("d.md", &fine)]);
        let expected = ["a.rs: 401 lines; a source has at most 400", "c.md:2: names a folder of one machine"];
        assert_eq!(problems(&tree), expected);
    }
}
