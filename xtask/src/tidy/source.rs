//! Rust sources as text in which only the code is left. Knows nothing of imports.

/// The same text with comments, strings and characters as spaces, and without what only tests see: each `#[cfg(test)]` item.
/// Lines stay where they were.
pub fn code_of(source: &str) -> String {
    without_tests(&without_comments_and_strings(source))
}

fn without_comments_and_strings(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole comments and strings were replaced")
}

/// Whether the letter at `at` belongs to a longer word: `r` in `for`, but not in `br"..."`.
fn follows_word(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or(b' ', |place| bytes[place]);
    is_word(before(1)) && (before(1) != b'b' || is_word(before(2)))
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"..."` or `r#"..."#`; `at` where there is no raw string.
fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let length = bytes[open + 1..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| open + 1 + length + close.len())
}

/// The end of `'x'`, `'\n'`, `'\u{1f}'`; `at` for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let length = bytes[at + 3..].iter().position(|byte| *byte == b'\'');
        return length.map_or(bytes.len(), |length| at + 4 + length);
    }
    // A character is up to four bytes long, and none of a lifetime's letters is followed by a quote.
    let first = bytes.get(at + 1).copied().unwrap_or_default();
    let length = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    if bytes.get(at + 1 + length) == Some(&b'\'') { at + 2 + length } else { at }
}

/// Blanks each item below `#[cfg(test)]`, up to its closing brace or its semicolon.
fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut left = code.as_bytes().to_vec();
    for (at, _) in code.match_indices(TEST) {
        let end = item_end(code.as_bytes(), at + TEST.len());
        left[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(left).expect("whole items were replaced")
}

/// The end of the item that begins at `at`: a semicolon outside of brackets, or the closing brace of its body.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    for (place, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth <= 0 {
                    // `use a::{b, c};` goes on to its semicolon.
                    return place + 1 + usize::from(bytes.get(place + 1) == Some(&b';'));
                }
            }
            b';' if depth == 0 => return place + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Whether the byte can stand in a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The line, counted from 1, of that byte.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::code_of;

    #[test]
    fn comments_strings_and_characters_are_spaces() {
        let source = "a /* b /* c */ d */ e // f\n\"g\\\"h\" i r#\"j\"k\"# l b'm' 'n' '\\'' &'o p 'é' for \"q\" br\"r\"";
        let code = code_of(source);
        assert_eq!(code.split_whitespace().collect::<String>(), "aeilb&'opforb");
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let source = "use a;\n#[cfg(test)]\nmod tests { use b; fn c() { [1; 2]; } }\n#[cfg(test)]\nuse d::{e, f};\n#[cfg(test)]\nmod g;\nuse h;";
        assert_eq!(code_of(source).split_whitespace().collect::<Vec<_>>(), ["use", "a;", "use", "h;"]);
    }
}
