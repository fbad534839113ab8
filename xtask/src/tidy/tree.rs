//! The files of a checkout: what git would commit from here.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Paths from the checkout's root, each with its text. Files that are no text are left out.
pub struct Tree(pub BTreeMap<String, String>);

impl Tree {
    /// Reads them.
    pub fn read(root: &Path) -> Self {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("git lists the files");
        let names = String::from_utf8(listed.stdout).expect("paths in UTF-8");
        let files = names.split('\0').filter_map(|name| {
            let text = fs::read_to_string(root.join(name)).ok()?;
            Some((name.to_owned(), text))
        });
        Self(files.collect())
    }

    /// The text of that file; empty where there is none.
    pub fn text(&self, path: &str) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    /// The files below a folder whose names end so.
    pub fn below<'a>(&'a self, folder: &'a str, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(path, _)| path.starts_with(folder) && path.ends_with(ending))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Whether there is that file or folder.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.contains_key(path)
            || self.0.range(folder.clone()..).next().is_some_and(|(name, _)| name.starts_with(&folder))
    }
}

#[cfg(test)]
impl Tree {
    /// A tree of these files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}
