//! The memory of a leaklab service at the start and at the end of a run.

use axum::http::{Uri, uri::PathAndQuery};
use serde::Serialize;

use crate::{http::client::Client, vitals::Vitals};

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Live allocations as the allocator counts them; `None`: it does not say.
    pub live_heap_bytes: Option<u64>,
    /// When the process started, in seconds since the Unix epoch.
    #[serde(skip)]
    pub started_seconds: Option<f64>,
}

impl Memory {
    /// Reads `/metrics` of the server behind `url`; `None`: it is no leaklab service, or it does not answer.
    pub async fn read(client: &Client, url: &Uri) -> Option<Self> {
        let mut metrics = url.clone().into_parts();
        metrics.path_and_query = Some(PathAndQuery::from_static("/metrics"));
        let answer = client.get(&Uri::from_parts(metrics).ok()?).await.ok()?;
        answer
            .status
            .is_success()
            .then(|| Self::of(&Vitals::parse(&String::from_utf8_lossy(&answer.body))))?
    }

    fn of(vitals: &Vitals) -> Option<Self> {
        vitals.is_leaklab().then_some(Self {
            rss_bytes: vitals.rss_bytes?,
            live_heap_bytes: vitals.live_heap_bytes,
            started_seconds: vitals.started_seconds,
        })
    }
}
