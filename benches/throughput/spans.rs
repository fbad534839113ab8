//! The balance of the spans: each one made is received by the collector or counted as dropped.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use crate::servers::Server;

/// Spans of one `/api/data` with every leak off: the server's and `work`.
const SPANS_PER_REQUEST: u64 = 2;

/// How long a server may take to send what it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// A collector, and the balance of all servers that have sent to it.
pub struct Spans {
    collector: Server,
    made: Cell<u64>,
    received: Cell<u64>,
    dropped: Cell<u64>,
}

impl Spans {
    /// With a collector of its own.
    pub fn new() -> Self {
        Self {
            collector: Server::collector(),
            made: Cell::new(0),
            received: Cell::new(0),
            dropped: Cell::new(0),
        }
    }

    /// Where to send.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.collector.address)
    }

    /// Waits until all spans of a server that is about to end are accounted for, and adds them to the balance.
    pub fn settle(&self, server: &Server) {
        let made = self.made.get() + SPANS_PER_REQUEST * server.answered();
        let deadline = Instant::now() + PATIENCE;
        let (received, dropped) = loop {
            let (received, dropped) = (self.collector.received(), self.dropped.get() + server.dropped());
            if received + dropped == made || Instant::now() > deadline {
                break (received, dropped);
            }
            thread::sleep(Duration::from_millis(100));
        };
        self.made.set(made);
        self.received.set(received);
        self.dropped.set(dropped);
    }

    /// The balance as a line.
    pub fn print(&self) {
        let (made, received, dropped) = (self.made.get(), self.received.get(), self.dropped.get());
        let share = 100.0 * dropped as f64 / made as f64;
        let balance =
            if received + dropped == made { "received + dropped = made" } else { "THE SUM IS WRONG" };
        println!("spans: made {made}, received {received}, dropped {dropped} ({share:.1} %): {balance}");
    }
}
