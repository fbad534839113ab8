//! What telemetry and profiling cost a request: requests per second of `/api/data` without simulated work.
//!
//! Pairs of servers, each a process of its own, take turns under the same client: A B, B A, A B... A pair of rounds gives
//! one ratio; printed are the median of the ratios and its interval of at least 95 % by order statistics (the sign test's
//! interval: it assumes nothing about the distribution, only that no ratio hangs on another). How a process happens to lie in
//! memory can make it a tenth faster for all its life, so each pair is two fresh ones. Client and collector share the machine
//! with the servers. What works beside the requests is measured in processor time (`parts`).
//!
//! `cargo bench --bench throughput [-- --pairs N --seconds S]`

use std::{env, process::ExitCode, time::Duration};

mod bare;
mod client;
#[path = "../../tests/support/otlp.rs"]
mod otlp;
mod parts;
mod ratio;
#[path = "../../tests/support/serve.rs"]
mod serve;
mod servers;
mod spans;

use servers::Server;
use spans::Spans;

leakscope::jemalloc!();

/// As many connections as a small service has at a time.
const CONNECTIONS: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(servers::BARE) => bare::serve(bare::routes()),
        Some(servers::ACCOUNTED) => bare::serve(bare::accounted_routes()),
        Some(servers::COLLECTOR) => servers::collect(),
        _ if arguments.iter().any(|argument| argument == "--bench") => compare(&arguments),
        _ => println!("run by cargo bench"),
    }
    ExitCode::SUCCESS
}

/// One line of the result.
struct Comparison<'a> {
    what: &'static str,
    /// `None`: a part of what another line has a goal for.
    goal: Option<f64>,
    measured: &'a dyn Fn() -> Server,
    against: &'a dyn Fn() -> Server,
    /// Where the measured server's spans go.
    spans: Option<&'a Spans>,
}

fn compare(arguments: &[String]) {
    let pairs = number_after(arguments, "--pairs").unwrap_or(30) as usize;
    let round = Duration::from_secs(number_after(arguments, "--seconds").unwrap_or(1));

    let spans = Spans::new();
    let endpoint = spans.endpoint();
    let bare = || Server::bare();
    let accounted = || Server::accounted();
    let shipped = || Server::leaklab(&[]);
    let unprofiled = || Server::leaklab(&[("_RJEM_MALLOC_CONF", "prof:false")]);
    let traced = || Server::leaklab(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);

    println!("/api/data without simulated work, {CONNECTIONS} connections, {pairs} pairs of {round:?} each");
    println!("{:52} {:>7}  {:16} {:9}", "", "median", "interval", "goal");
    for comparison in [
        Comparison {
            what: "as shipped / bare axum",
            goal: Some(0.85),
            measured: &shipped,
            against: &bare,
            spans: None,
        },
        Comparison {
            what: "every span exported / bare axum",
            goal: Some(0.50),
            measured: &traced,
            against: &bare,
            spans: Some(&spans),
        },
        Comparison {
            what: "profiling on / prof:false",
            goal: Some(0.98),
            measured: &shipped,
            against: &unprofiled,
            spans: None,
        },
        Comparison {
            what: "bare axum with request accounting / without",
            goal: None,
            measured: &accounted,
            against: &bare,
            spans: None,
        },
    ] {
        comparison.run(pairs, round);
    }
    spans.print();
    parts::print();
}

impl Comparison<'_> {
    fn run(&self, pairs: usize, round: Duration) {
        let mut ratios = Vec::with_capacity(pairs);
        let mut rates = [Vec::new(), Vec::new()];
        for pair in 0..pairs {
            let servers = [(self.measured)(), (self.against)()];
            // Warm: connections, caches, the allocator's arenas.
            for server in &servers {
                server.drive(round / 2);
            }
            let mut rate = [0.0; 2];
            for turn in [pair % 2, (pair + 1) % 2] {
                rate[turn] = servers[turn].drive(round);
                rates[turn].push(rate[turn]);
            }
            ratios.push(rate[0] / rate[1]);
            if let Some(spans) = self.spans {
                spans.settle(&servers[0]);
            }
        }
        let ratio = ratio::median_with_interval(&mut ratios);
        let verdict = match self.goal {
            Some(goal) if ratio.median >= goal => format!(">= {goal:.2} met"),
            Some(goal) => format!(">= {goal:.2} MISSED"),
            None => String::new(),
        };
        let [measured, against] = rates.map(|mut rates| ratio::median_with_interval(&mut rates).median);
        println!(
            "{:52} {:>7.3}  [{:.3}, {:.3}]   {verdict} ({measured:.0} / {against:.0} requests/s)",
            self.what, ratio.median, ratio.low, ratio.high
        );
    }
}

fn number_after(arguments: &[String], flag: &str) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(at + 1)?.parse().ok()
}
