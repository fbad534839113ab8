//! What telemetry and profiling cost a request: requests per second of `/api/data` without simulated work.
//!
//! Pairs of servers, each a process of its own, take turns under the same client: A B, B A, A B... A pair of rounds gives
//! one ratio; printed are the median of the ratios and its interval of at least 95 % by order statistics (the sign test's
//! interval: it assumes nothing about the distribution). Client and collector share the machine with the servers.
//!
//! `cargo bench --bench throughput [-- --pairs N --seconds S]`

use std::{env, process::ExitCode, time::Duration};

mod bare;
mod client;
#[path = "../../tests/support/otlp.rs"]
mod otlp;
mod ratio;
mod servers;

use servers::Server;

leakscope::jemalloc!();

/// As many connections as a small service has at a time.
const CONNECTIONS: usize = 50;

/// Spans of one `/api/data` with every leak off: the server's and `work`.
const SPANS_PER_REQUEST: u64 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(servers::BARE) => bare::serve(),
        Some(servers::COLLECTOR) => servers::collect(),
        _ if arguments.iter().any(|argument| argument == "--bench") => compare(&arguments),
        _ => println!("run by cargo bench"),
    }
    ExitCode::SUCCESS
}

/// One line of the result.
struct Comparison<'a> {
    what: &'static str,
    goal: f64,
    measured: &'a Server,
    against: &'a Server,
}

fn compare(arguments: &[String]) {
    let pairs = number_after(arguments, "--pairs").unwrap_or(15) as usize;
    let round = Duration::from_secs(number_after(arguments, "--seconds").unwrap_or(1));

    let collector = Server::collector();
    let bare = Server::bare();
    let shipped = Server::leaklab(&[]);
    let unprofiled = Server::leaklab(&[("_RJEM_MALLOC_CONF", "prof:false")]);
    let endpoint = format!("http://{}", collector.address);
    let traced = Server::leaklab(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    for server in [&bare, &shipped, &unprofiled, &traced] {
        server.drive(round);
    }

    println!("/api/data without simulated work, {CONNECTIONS} connections, {pairs} pairs of {round:?} each");
    println!("{:52} {:>7}  {:16} {:9}", "", "median", "interval", "goal");
    for comparison in [
        Comparison { what: "as shipped / bare axum", goal: 0.85, measured: &shipped, against: &bare },
        Comparison { what: "every span exported / bare axum", goal: 0.50, measured: &traced, against: &bare },
        Comparison {
            what: "profiling on / prof:false",
            goal: 0.98,
            measured: &shipped,
            against: &unprofiled,
        },
    ] {
        comparison.run(pairs, round);
    }

    let made = SPANS_PER_REQUEST * traced.answered();
    let (received, dropped) = traced.settled_spans(&collector, made);
    let share = 100.0 * dropped as f64 / made as f64;
    let balance = if received + dropped == made { "received + dropped = made" } else { "THE SUM IS WRONG" };
    println!("spans: made {made}, received {received}, dropped {dropped} ({share:.1} %): {balance}");
}

impl Comparison<'_> {
    fn run(&self, pairs: usize, round: Duration) {
        let mut ratios = Vec::with_capacity(pairs);
        let mut rates = [Vec::new(), Vec::new()];
        for pair in 0..pairs {
            let (measured, against) = if pair % 2 == 0 {
                let against = self.against.drive(round);
                (self.measured.drive(round), against)
            } else {
                (self.measured.drive(round), self.against.drive(round))
            };
            ratios.push(measured / against);
            rates[0].push(measured);
            rates[1].push(against);
        }
        let ratio = ratio::median_with_interval(&mut ratios);
        let verdict = if ratio.median >= self.goal { "met" } else { "MISSED" };
        let [measured, against] = rates.map(|mut rates| ratio::median_with_interval(&mut rates).median);
        println!(
            "{:52} {:>7.3}  [{:.3}, {:.3}]   >= {:.2} {verdict} ({measured:.0} / {against:.0} requests/s)",
            self.what, ratio.median, ratio.low, ratio.high, self.goal
        );
    }
}

fn number_after(arguments: &[String], flag: &str) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(at + 1)?.parse().ok()
}
