//! Asks the running service for its readiness, and then, four times a second, for its metrics.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::AbortHandle, time::MissedTickBehavior};

use crate::vitals::Vitals;

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
    pub fn start(client: &reqwest::Client, address: SocketAddr) -> Self {
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

/// A client that talks to the service and to nothing else.
///
/// # Errors
/// The client can't be built.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()
}

async fn poll(client: reqwest::Client, address: SocketAddr, sender: mpsc::Sender<Heard>) {
    let ready = format!("http://{address}/readyz");
    while !client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
        tokio::time::sleep(READY_EVERY).await;
    }
    if sender.send(Heard::Ready).await.is_err() {
        return;
    }
    let metrics = format!("http://{address}/metrics");
    let mut tick = tokio::time::interval(VITALS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(answer) = client.get(&metrics).send().await else { continue };
        let Ok(text) = answer.text().await else { continue };
        if sender.send(Heard::Vitals(Instant::now(), Vitals::parse(&text))).await.is_err() {
            return;
        }
    }
}
