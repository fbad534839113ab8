//! The rooms of each crate, and what each may import. This is the one table: `ARCHITECTURE.md` shows it, and `imports` holds
//! the code to it.

/// A crate of ours.
pub struct Crate {
    /// As paths name it.
    pub name: &'static str,
    /// Its sources, from the checkout's root.
    pub sources: &'static str,
    /// Its modules at the top. `lib.rs`, `main.rs` and `macros.rs` only put them together.
    pub rooms: &'static [Room],
}

/// A module at the top of a crate.
pub struct Room {
    /// Its name.
    pub name: &'static str,
    /// Rooms of the same crate, and other crates of ours.
    pub may_import: &'static [&'static str],
}

const fn room(name: &'static str, may_import: &'static [&'static str]) -> Room {
    Room { name, may_import }
}

/// All crates of ours whose sources have rooms. leakscope names no other: it never imports leaklab.
pub const CRATES: &[Crate] = &[
    Crate {
        name: "leakscope",
        sources: "crates/leakscope/src",
        rooms: &[
            room("lock", &[]),
            room("proc", &[]),
            room("heap", &["proc"]),
            room("jemalloc", &["heap", "lock", "proc"]),
            room("memory", &["jemalloc", "proc"]),
            room("trend", &["memory"]),
            room("quantity", &["jemalloc", "lock", "memory", "proc", "trend"]),
            room("recorder", &["heap", "lock", "memory", "proc", "quantity", "trend"]),
            room("request", &["jemalloc"]),
            room("instrument", &["heap", "jemalloc", "lock", "memory", "quantity", "recorder", "trend"]),
            room("http", &["heap", "instrument", "memory", "recorder", "request", "trend"]),
        ],
    },
    Crate {
        name: "leaklab",
        sources: "src",
        rooms: &[
            room("leaks", &[]),
            room("http", &["leakscope"]),
            room("config", &["leaks"]),
            room("vitals", &["http", "leakscope"]),
            room("recording", &["config", "leaks", "leakscope"]),
            room("labs", &["leaks", "leakscope", "recording"]),
            room("telemetry", &["config", "http", "leaks", "leakscope", "recording"]),
            room("workload", &["http", "leaks", "telemetry"]),
            room("post_mortem", &["leakscope", "recording", "vitals"]),
            room("load", &["config", "http", "vitals"]),
            room("supervisor", &["config", "http", "leakscope", "post_mortem", "recording", "vitals"]),
            room(
                "admin",
                &[
                    "config",
                    "http",
                    "labs",
                    "leaks",
                    "leakscope",
                    "post_mortem",
                    "recording",
                    "telemetry",
                    "vitals",
                ],
            ),
            room(
                "app",
                &[
                    "admin",
                    "config",
                    "http",
                    "labs",
                    "leaks",
                    "leakscope",
                    "post_mortem",
                    "recording",
                    "telemetry",
                    "vitals",
                    "workload",
                ],
            ),
            room(
                "cli",
                &[
                    "app",
                    "config",
                    "http",
                    "labs",
                    "leakscope",
                    "load",
                    "post_mortem",
                    "recording",
                    "supervisor",
                    "telemetry",
                    "vitals",
                ],
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::CRATES;

    /// A room may only import rooms that stand above it in the table, so the table has no circle.
    #[test]
    fn the_table_has_no_circle() {
        for one in CRATES {
            for (at, room) in one.rooms.iter().enumerate() {
                for import in room.may_import {
                    let other_crate =
                        CRATES.iter().any(|other| other.name == *import && other.name != one.name);
                    let above = one.rooms[..at].iter().any(|above| above.name == *import);
                    assert!(
                        other_crate || above,
                        "{}: {} may import {import}, which stands below",
                        one.name,
                        room.name
                    );
                }
                assert!(room.may_import.is_sorted(), "{}: {}", one.name, room.name);
            }
        }
    }

    #[test]
    fn the_instrument_never_imports_the_patient() {
        let leakscope = CRATES.iter().find(|one| one.name == "leakscope").expect("it is there");
        assert!(leakscope.rooms.iter().all(|room| !room.may_import.contains(&"leaklab")));
    }
}
