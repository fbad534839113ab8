//! The paths that a file names: in `use` trees and in expressions. Reads text, and knows no rule.

use super::source::{is_word, line_of};

/// A path as it is written: `crate::heap::Snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Counted from 1.
    pub line: usize,
    /// `crate`, `heap`, `Snapshot`; `*` where all is taken.
    pub segments: Vec<String>,
    /// The name that it has here: its last segment, or what stands after `as`.
    pub name: String,
}

/// Every path in `code` (see [`super::source::code_of`]) that begins with one of `roots`, nested trees spread out.
pub fn paths_of(code: &str, roots: &[&str]) -> Vec<Path> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let end = word_end(bytes, at);
        let begins = !is_part_of_path(bytes, at);
        // `use<'a>` captures lifetimes.
        let in_tree = begins && &code[at..end] == "use" && bytes.get(end) != Some(&b'<');
        let (from, to) =
            if in_tree { (skip_spaces(bytes, end), statement_end(bytes, end)) } else { (at, end) };
        if in_tree {
            let mut all = Vec::new();
            spread(code, from, to, &[], &mut all);
            found.extend(all.into_iter().filter(|path| roots.contains(&path.segments[0].as_str())));
            at = to;
        } else if begins && roots.contains(&&code[at..end]) {
            let (segments, after) = plain(code, at);
            if segments.len() > 1 {
                let name = segments.last().expect("more than one").clone();
                found.push(Path { line: line_of(code, at), segments, name });
            }
            at = after;
        } else {
            at = end;
        }
    }
    found
}

/// Spreads out a tree such as `a::{b, c::{d as e, *}}` that lies between `at` and `end`.
fn spread(code: &str, at: usize, end: usize, before: &[String], found: &mut Vec<Path>) {
    let bytes = code.as_bytes();
    let mut segments = before.to_vec();
    let mut at = skip_spaces(bytes, at);
    if at >= end {
        return; // after the last comma
    }
    let line = line_of(code, at);
    let mut name = None;
    while at < end {
        if bytes[at] == b'{' {
            let close = closing(bytes, at);
            for (from, to) in parts(bytes, at + 1, close) {
                spread(code, from, to, &segments, found);
            }
            return;
        }
        if bytes[at] == b'*' {
            segments.push("*".to_owned());
            break;
        }
        if !is_word(bytes[at]) {
            break;
        }
        let word = &code[at..word_end(bytes, at)];
        at = skip_spaces(bytes, at + word.len());
        if word == "as" {
            name = Some(code[at..word_end(bytes, at)].to_owned());
            break;
        }
        if word != "self" || segments.is_empty() {
            segments.push(word.to_owned());
        }
        if bytes[at..].starts_with(b"::") {
            at = skip_spaces(bytes, at + 2);
        }
    }
    if let Some(last) = segments.last().cloned() {
        found.push(Path { line, segments, name: name.unwrap_or(last) });
    }
}

/// The segments of a path in an expression or a type, and where it ends.
fn plain(code: &str, at: usize) -> (Vec<String>, usize) {
    let bytes = code.as_bytes();
    let (mut segments, mut at) = (Vec::new(), at);
    loop {
        let end = word_end(bytes, at);
        segments.push(code[at..end].to_owned());
        if !bytes[end..].starts_with(b"::") || !bytes.get(end + 2).copied().is_some_and(is_word) {
            return (segments, end);
        }
        at = end + 2;
    }
}

/// The parts between the commas that are in no inner bracket.
fn parts(bytes: &[u8], from: usize, to: usize) -> Vec<(usize, usize)> {
    let (mut found, mut depth, mut begin) = (Vec::new(), 0, from);
    for (at, byte) in bytes.iter().enumerate().take(to).skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.push((begin, at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push((begin, to));
    found
}

fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count()
}

fn skip_spaces(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn statement_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b';').map_or(bytes.len(), |length| at + length)
}

/// Whether the word at `at` goes on what stands before it: `a::word`, `$word`, `'word`, `.word`.
fn is_part_of_path(bytes: &[u8], at: usize) -> bool {
    at > 0 && matches!(bytes[at - 1], b':' | b'$' | b'\'' | b'.' | b'#') && !bytes[..at].ends_with(b"..")
}

#[cfg(test)]
mod tests {
    use super::paths_of;

    fn written(code: &str) -> Vec<String> {
        let all = paths_of(code, &["crate", "super", "self", "child"]);
        all.iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn trees_are_spread_out() {
        let code = "use std::fmt;\nuse crate::{\n    a::{self, B, c::{D as E, *}},\n    f,\n};\npub(super) use child::G;";
        let expected =
            ["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c::*", "crate::f", "child::G"];
        assert_eq!(written(code), expected);
        let all = paths_of(code, &["crate", "child"]);
        assert_eq!((all[2].name.as_str(), all[2].line), ("E", 3));
    }

    #[test]
    fn paths_in_expressions_and_types_count() {
        let code = "fn a(b: &crate::c::D) -> super::E { child::f::<crate::g::H>(); x.self_; crate::i!() } pub(crate) fn j(..child::K) {}";
        assert_eq!(
            written(code),
            ["crate::c::D", "super::E", "child::f", "crate::g::H", "crate::i", "child::K"]
        );
    }

    #[test]
    fn a_longer_path_of_that_name_is_another() {
        assert_eq!(written("other::child::x; $crate::y; a.child; mod child;"), [""; 0]);
    }
}
