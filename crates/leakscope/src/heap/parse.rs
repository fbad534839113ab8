//! jemalloc's profile text (`heap_v2`) to stacks and mappings. Knows nothing of where the text comes from, nor of symbols.

use std::io::BufRead;

use crate::proc::CodeMapping;

/// A heap profile as jemalloc wrote it.
#[derive(Debug, Default)]
pub(crate) struct RawProfile {
    /// Mean bytes between two samples.
    pub(crate) interval_bytes: u64,
    pub(crate) stacks: Vec<RawStack>,
    /// What was mapped executable, by address.
    pub(crate) mappings: Vec<CodeMapping>,
}

/// One allocation stack and what is live of it.
#[derive(Debug, PartialEq)]
pub(crate) struct RawStack {
    /// Return addresses, innermost first.
    pub(crate) addresses: Vec<u64>,
    /// Live sampled allocations.
    pub(crate) samples: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

const MAPPINGS: &str = "MAPPED_LIBRARIES:";

/// Reads a whole profile; the error says which line could not be understood, and why.
pub(crate) fn parse(mut text: impl BufRead) -> Result<RawProfile, String> {
    let mut profile = RawProfile::default();
    let mut pending: Option<Vec<u64>> = None; // a stack whose figures are on the next line
    let mut in_mappings = false;
    let mut bytes = Vec::new();
    for number in 1u64.. {
        bytes.clear();
        match text.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("heap profile, line {number}: {error}")),
        }
        // Thread names and paths may be anything; what matters is ASCII.
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        let wrong = |what: &str| format!("heap profile, line {number}: {what}: {line:.80}");
        if in_mappings {
            profile.mappings.extend(CodeMapping::parse(line));
        } else if number == 1 {
            let interval = line.strip_prefix("heap_v2/").and_then(|interval| interval.parse().ok());
            profile.interval_bytes = interval.ok_or_else(|| wrong("not `heap_v2/INTERVAL`"))?;
        } else if let Some(addresses) = pending.take() {
            let (samples, bytes) = figures(line).ok_or_else(|| wrong("not the figures of a stack"))?;
            profile.stacks.push(RawStack { addresses, samples, bytes });
        } else if let Some(addresses) = line.strip_prefix('@') {
            let addresses = addresses.split_whitespace().map(hexadecimal).collect::<Option<_>>();
            pending = Some(addresses.ok_or_else(|| wrong("not a stack of addresses"))?);
        } else if line == MAPPINGS {
            in_mappings = true;
        } else if !line.is_empty() && !line.starts_with("  t") {
            return Err(wrong("not part of a heap profile"));
        }
    }
    if !in_mappings {
        return Err(format!("heap profile: cut short, there is no `{MAPPINGS}`"));
    }
    Ok(profile)
}

/// `  t*: 5: 5120 [0: 0]` -> (5, 5120)
fn figures(line: &str) -> Option<(u64, u64)> {
    let mut parts = line.strip_prefix("  t*: ")?.split([':', '[']);
    let mut next = || parts.next()?.trim().parse().ok();
    Some((next()?, next()?))
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const PROFILE: &str = "\
heap_v2/65536
  t*: 7: 8192 [0: 0]
  t0: 7: 8192 [0: 0] main
@ 0x55d0c6a01000 0x55d0c6a02000
  t*: 5: 5120 [0: 0]
  t0: 5: 5120 [0: 0] a name: with [colons]
@
  t*: 2: 3072 [9: 9]

MAPPED_LIBRARIES:
55d0c6900000-55d0c6a00000 r--p 00000000 08:01 131    /srv/my service
55d0c6a00000-55d0c6c00000 r-xp 00100000 08:01 131    /srv/my service
7ffd0000-7ffd1000 r-xp 00000000 00:00 0              [vdso]
7ffd1000-7ffd2000 rwxp 00000000 00:00 0
";

    #[test]
    fn reads_stacks_and_code_mappings() {
        let profile = parse(PROFILE.as_bytes()).unwrap();
        assert_eq!(profile.interval_bytes, 65_536);
        let first = RawStack { addresses: vec![0x55d0_c6a0_1000, 0x55d0_c6a0_2000], samples: 5, bytes: 5120 };
        let second = RawStack { addresses: vec![], samples: 2, bytes: 3072 };
        assert_eq!(profile.stacks, [first, second]);
        let code = CodeMapping {
            start: 0x55d0_c6a0_0000,
            end: 0x55d0_c6c0_0000,
            file_offset: 0x10_0000,
            path: PathBuf::from("/srv/my service"),
        };
        assert_eq!(profile.mappings[0], code);
        assert_eq!(profile.mappings[1].path, PathBuf::from("[vdso]"));
        assert_eq!(profile.mappings.len(), 2, "neither data nor anonymous memory");
        assert!(code.contains(0x55d0_c6a0_1000) && !code.contains(code.end));
    }

    #[track_caller]
    fn refused(text: &[u8], says: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn says_what_is_wrong() {
        refused(b"", "cut short");
        refused(b"heap_v3/1\n", "line 1: not `heap_v2/INTERVAL`");
        refused(b"heap_v2/-5\n", "line 1");
        refused(b"\xff\xfe\x00", "line 1");
        refused(b"heap_v2/1\nwhat\n", "line 2: not part of a heap profile: what");
        refused(b"heap_v2/1\n@ 0xzz\n", "line 2: not a stack of addresses");
        refused(b"heap_v2/1\n@ 0x11111111111111111\n", "line 2: not a stack of addresses");
        refused(b"heap_v2/1\n@ 0x1\n@ 0x2\n", "line 3: not the figures of a stack");
        refused(b"heap_v2/1\n@ 0x1\n  t*: 1: -1 [0: 0]\n", "line 3: not the figures");
        refused(b"heap_v2/1\n@ 0x1\n  t*: 1\n", "line 3: not the figures");
        refused(b"heap_v2/1\n@ 0x1\n", "cut short");
    }

    #[test]
    fn any_cut_or_broken_byte_is_an_error_or_a_profile_but_no_panic() {
        for end in 0..PROFILE.len() {
            let _ = parse(&PROFILE.as_bytes()[..end]);
            for byte in [0, b'\n', b'@', b'0', 0xff] {
                let mut broken = PROFILE.as_bytes().to_vec();
                broken[end] = byte;
                let _ = parse(broken.as_slice());
            }
        }
    }
}
