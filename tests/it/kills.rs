//! Kill after kill: every cause and every number is right, nothing that was said is lost, nothing on disk passes its bound.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{agent, get, lab::Lab, metric, send_signal};
use leakscope::instrument::USUAL_INTERVAL;
use serde_json::json;

/// `LEAKLAB_KILLS=100` for all that was promised once; the lab waits up to 10 s after each quick death.
const KILLS: usize = 8;
const LIMIT: &str = "64MiB";
const LEAKY: [&str; 3] = ["cache", "listeners", "history"];
const FIXED: [&str; 3] = ["cache:fixed", "listeners:fixed", "history:fixed"];

/// Requests between two looks at usage, and what they keep: 48 KiB each, and their bookkeeping.
const STEP: u64 = 10;
const STEP_BYTES: f64 = STEP as f64 * 49_500.0;

/// How a run is ended.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By SIGKILL, some time after its start, under load.
    AtRandom,
    /// By SIGKILL, when so many percent of the limit are used.
    At(u64),
    /// By the limit.
    Limit,
}

#[test]
#[ignore = "a minute, of which the lab waits most: run by the gate"]
fn kill_after_kill_nothing_is_lost() {
    let kills = std::env::var("LEAKLAB_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let seed = fastrand::get_seed();
    println!("{kills} kills, seed {seed}");
    let lab = Lab::start(&["--limit", LIMIT]);
    let ways = [Way::AtRandom, Way::At(30), Way::Limit, Way::At(97)];
    let mut ended = [("killed", 0.0), ("limit_kill", 0.0)];
    let mut patient = Patient::of(&lab);
    for (number, way) in ways.into_iter().cycle().take(kills).enumerate() {
        let requests = patient.end(way);
        let next = Patient::of(&lab);
        let (status, post_mortem) = get(&format!("{}/admin/post-mortem", next.url));
        assert_eq!(status, 200, "{post_mortem:#}");
        let (cause, leaks_on) = match way {
            Way::AtRandom => ("killed", FIXED),
            Way::At(_) => ("killed", LEAKY),
            Way::Limit => ("limit_kill", LEAKY),
        };
        let context = format!("kill {number} of {kills}, {way:?}, {requests:?}: {post_mortem:#}");
        assert_eq!(
            (&post_mortem["cause"], &post_mortem["certainty"]),
            (&json!(cause), &json!("certain")),
            "{context}"
        );
        assert_eq!(
            (&post_mortem["pid"], &post_mortem["leaks_on"]),
            (&json!(patient.pid), &json!(leaks_on)),
            "{context}"
        );
        let at = &post_mortem["at"];
        // Before the first sample, a quarter of a second after the start, nothing is known of its requests.
        let seen = at["requests"].as_u64().unwrap_or(0);
        assert!(requests.of_old <= seen && seen <= requests.sent, "{context}");
        let share = at["limit_share"].as_f64();
        match way {
            Way::AtRandom => {}
            Way::At(percent) => {
                let off = share.expect("it was sampled") - percent as f64 / 100.0;
                assert!((-0.02..0.03).contains(&off), "{context}");
            }
            Way::Limit => assert!(share >= Some(0.95), "{context}"),
        }
        if let Way::Limit | Way::At(97) = way {
            let line = post_mortem["growing"][0]["location"].as_str();
            assert!(line.is_some_and(|line| line.starts_with("src/leaks/")), "{context}");
        }
        for (name, count) in &mut ended {
            *count += f64::from(*name == cause);
            let series = format!("previous_run_ends_total{{cause=\"{name}\"}}");
            assert_eq!(metric(&next.url, &series), *count, "{context}");
        }
        is_bounded(&lab.data_dir.path().join("recorder"));
        let problems: Vec<_> = lab.log().into_iter().filter(|line| line.contains("WARN")).collect();
        assert_eq!(problems, [""; 0], "{context}");
        patient = next;
    }
}

/// What is known of the requests of a run that was ended.
#[derive(Debug)]
struct Requests {
    /// Answered so long before the end that a sample has seen them.
    of_old: u64,
    /// All that can have arrived.
    sent: u64,
}

/// A run of the lab's service.
struct Patient {
    url: String,
    pid: u32,
}

impl Patient {
    fn of(lab: &Lab) -> Self {
        let url = lab.url().expect("the lab starts it, and starts it again");
        let (_, memory) = get(&format!("{url}/admin/memory"));
        let pid = memory["process"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid");
        Self { url, pid }
    }

    fn end(&self, way: Way) -> Requests {
        let variant = if let Way::AtRandom = way { "fixed" } else { "leaky" };
        let body = json!({"enabled": true, "variant": variant}).to_string();
        agent().post(format!("{}/admin/leaks/all", self.url)).send(&body).expect("an answer");
        match way {
            Way::AtRandom => {
                let pid = self.pid;
                let moment = Duration::from_millis(fastrand::u64(0..3_000));
                thread::spawn(move || {
                    thread::sleep(moment);
                    send_signal(pid, libc::SIGKILL);
                });
                self.drive(|| true)
            }
            Way::At(percent) => {
                let most = metric(&self.url, "memory_limit_bytes") * percent as f64 / 100.0;
                let usage = || metric(&self.url, "memory_usage_bytes");
                // Usage is sampled at a steady pace: part of the way blindly, then a look at a sample that has seen it.
                let mut steps = 0;
                let requests = self.drive(|| {
                    if steps == 0 {
                        let (before, now) = (usage(), Instant::now());
                        while usage() == before && now.elapsed() < 2 * USUAL_INTERVAL {
                            thread::sleep(Duration::from_millis(50));
                        }
                        steps = (0.7 * (most - usage()) / STEP_BYTES).ceil() as u64;
                    }
                    steps = steps.saturating_sub(1);
                    usage() < most
                });
                send_signal(self.pid, libc::SIGKILL);
                requests
            }
            Way::Limit => self.drive(|| true),
        }
    }

    /// One request after the other until it is dead, or, asked at every step, enough.
    fn drive(&self, mut go_on: impl FnMut() -> bool) -> Requests {
        /// Four samples' time: the recorder's thread waits for a processor too.
        const OLD: Duration = Duration::from_secs(1);
        let (agent, url) = (agent(), format!("{}/api/data", self.url));
        let mut answered = Vec::new();
        let mut sent = 0;
        while sent % STEP != 0 || go_on() {
            sent += 1;
            let answer = agent.get(&url).call().and_then(|mut answer| answer.body_mut().read_to_vec());
            if answer.is_err() {
                break;
            }
            answered.push(Instant::now());
        }
        let of_old = answered.iter().filter(|at| at.elapsed() > OLD).count() as u64;
        Requests { of_old, sent }
    }
}

/// As the recorder promises.
fn is_bounded(folder: &Path) {
    let mut profiles = 0;
    for file in fs::read_dir(folder).expect("it is there") {
        let file = file.expect("readable");
        let name = file.file_name().to_string_lossy().into_owned();
        let bytes = file.metadata().map_or(0, |file| file.len());
        let bound = match name.as_str() {
            "journal" | "journal.old" => 512 << 10,
            "samples" => 220_000,
            "lock" => 0,
            "post-mortems.json" => 1 << 20,
            "supervisor.json" => 4 << 10,
            _ if name.ends_with(".heap") => {
                profiles += 1;
                1 << 20
            }
            _ => panic!("what is {name}?"),
        };
        assert!(bytes <= bound, "{name} has {bytes} bytes");
    }
    assert!(profiles <= 6, "{profiles} profiles");
}
