//! The rules of the house that the compiler does not know: who may import whom, one word for one type, texts that say what the
//! code says. Everything is read as text, so that it takes no build and no time.

mod imports;
mod lists;
mod names;
mod paths;
mod rooms;
mod source;
mod texts;
mod tree;

use std::path::Path;

/// Checks the checkout in `root`. Each problem is a line: where, what, and why.
pub fn problems(root: &Path) -> Vec<String> {
    let tree = tree::Tree::read(root);
    let mut problems = Vec::new();
    for crate_rooms in rooms::CRATES {
        problems.extend(imports::problems(crate_rooms, &tree));
    }
    problems.extend(names::problems(&tree));
    problems.extend(texts::problems(&tree));
    problems.extend(lists::problems(&tree));
    problems
}
