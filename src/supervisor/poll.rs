//! Asks the running service for its readiness, and then, four times a second, for its metrics.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::http::Uri;
use tokio::{sync::mpsc, task::AbortHandle, time::MissedTickBehavior};

use crate::{http::client::Client, vitals::Vitals};

const READY_EVERY: Duration = Duration::from_millis(20);
const VITALS_EVERY: Duration = Duration::from_millis(250);
/// A service that is busy dying answers late or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What was heard.
#[derive(Debug)]
pub enum Heard {
    /// It answers.
    Ready,
    /// One reading of its metrics, and when it came.
    Vitals(Instant, Vitals),
}

/// Polls until dropped.
pub struct Poll {
    heard: mpsc::Receiver<Heard>,
    task: AbortHandle,
}

impl Poll {
    /// Starts to ask the service at `address`.
    pub fn start(client: &Client, address: SocketAddr) -> Self {
        let (sender, heard) = mpsc::channel(4);
        let task = tokio::spawn(poll(client.clone(), address, sender)).abort_handle();
        Self { heard, task }
    }

    /// The next thing heard; pending for ever once there is nothing more to hear.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client with the patience that a poll has.
pub fn client() -> Client {
    Client::new(ANSWER_WITHIN)
}

async fn poll(client: Client, address: SocketAddr, sender: mpsc::Sender<Heard>) {
    let [ready, metrics] = ["readyz", "metrics"].map(|path| url(address, path));
    while !client.get(&ready).await.is_ok_and(|answer| answer.status.is_success()) {
        tokio::time::sleep(READY_EVERY).await;
    }
    if sender.send(Heard::Ready).await.is_err() {
        return;
    }
    let mut tick = tokio::time::interval(VITALS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(answer) = client.get(&metrics).await else { continue };
        let vitals = Vitals::parse(&String::from_utf8_lossy(&answer.body));
        if sender.send(Heard::Vitals(Instant::now(), vitals)).await.is_err() {
            return;
        }
    }
}

fn url(address: SocketAddr, path: &str) -> Uri {
    format!("http://{address}/{path}").parse().expect("an address makes a URL")
}
