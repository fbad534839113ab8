//! Heap profiles as other tools read them: pprof's format for `go tool pprof`, Pyroscope and Parca, and flame graphs for a
//! browser.

use std::{future::Future, ops::RangeInclusive, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;

use super::{Error, off_runtime};
use crate::{
    heap::{self, Snapshot},
    instrument::Profiles,
};

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProfile {
    /// Profiling is off; says how to switch it on.
    #[error("{0}")]
    Off(String),
    /// It was tried and failed.
    #[error("the heap profile failed: {0}")]
    Failed(String),
    /// Nothing to compare with.
    #[error("there is no baseline yet; one does not survive a restart")]
    NoBaseline,
    /// The program stops before the time is over.
    #[error("the program is about to stop")]
    Stopping,
}

impl From<NoProfile> for Error {
    fn from(why: NoProfile) -> Self {
        use NoProfile::{Failed, NoBaseline, Off, Stopping};
        let (status, code, expected) = match why {
            Off(_) => {
                let expected = match cfg!(feature = "jemalloc") {
                    true => "`leakscope::jemalloc!();` at the root of the program, on Linux",
                    false => {
                        "leakscope with its feature `jemalloc`, and `leakscope::jemalloc!();` at the root of the program"
                    }
                };
                (StatusCode::CONFLICT, "profiling_off", expected)
            }
            Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "profile_failed", "the same request again"),
            NoBaseline => {
                let expected = "the same request after POST /debug/memory/baseline";
                (StatusCode::CONFLICT, "no_baseline", expected)
            }
            Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping", "the same request after the next start")
            }
        };
        Self::new(status, code, why.to_string(), expected)
    }
}

impl From<heap::Error> for NoProfile {
    fn from(error: heap::Error) -> Self {
        match error {
            heap::Error::Off(why) => Self::Off(why),
            heap::Error::Failed(why) => Self::Failed(why),
        }
    }
}

/// Time over which growth is profiled: 1 to 300 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Seconds(Duration);

const SECONDS: RangeInclusive<u64> = 1..=300;

impl TryFrom<u64> for Seconds {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match SECONDS.contains(&seconds) {
            true => Ok(Self(Duration::from_secs(seconds))),
            false => Err(format!("seconds is {seconds}")),
        }
    }
}

impl Seconds {
    /// As a number.
    pub fn count(self) -> u64 {
        self.0.as_secs()
    }
}

/// What a flame graph is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The baseline of the diffs.
    Baseline,
}

/// A gzipped profile in pprof's format: of what is held, or of what grew and shrank within `seconds` from now, as Go gives it.
///
/// # Errors
/// No profile can be taken, or `stopping` is ready before the time is over.
pub async fn heap(
    profiles: &Arc<Profiles>,
    seconds: Option<Seconds>,
    stopping: impl Future<Output = ()>,
) -> Result<Response, NoProfile> {
    let Some(Seconds(time)) = seconds else {
        let profile = off_runtime(profiles, |profiles| Ok(profiles.take()?.to_pprof())).await;
        return profile.map(|profile| download("heap.pb.gz", profile)).map_err(heap::Error::into);
    };
    let base = off_runtime(profiles, |profiles| profiles.take()).await?;
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stopping => return Err(NoProfile::Stopping),
    }
    let growth = off_runtime(profiles, move |profiles| Ok(profiles.take()?.growth_to_pprof(&base))).await;
    growth.map(|growth| download("heap-growth.pb.gz", growth)).map_err(heap::Error::into)
}

/// What to compare with.
///
/// # Errors
/// There is none, or profiling is off, so that none can be set.
pub(super) fn baseline(profiles: &Profiles) -> Result<Arc<Snapshot>, NoProfile> {
    profiles.baseline().ok_or_else(|| match &profiles.profiler().status().problem {
        Some(problem) => NoProfile::Off(problem.clone()),
        None => NoProfile::NoBaseline,
    })
}

fn download(name: &str, profile: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, profile).into_response()
}

/// What is held as a flame graph in SVG, or coloured by what changed since `base`: red grew, blue shrank.
///
/// # Errors
/// No profile can be taken, or there is no baseline.
pub async fn flamegraph(profiles: &Arc<Profiles>, base: Option<Base>) -> Result<Response, NoProfile> {
    let svg = off_runtime(profiles, move |profiles| {
        let base = match base {
            Some(Base::Baseline) => Some(baseline(profiles)?),
            None => None,
        };
        let now = profiles.take()?;
        let svg = match base {
            Some(base) => now.growth_to_flamegraph(&base),
            None => now.to_flamegraph(),
        };
        svg.map_err(NoProfile::from)
    });
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, svg.await?).into_response())
}

/// The graph brings its own script and style, and needs nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
