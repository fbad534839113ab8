//! What to send, where, how often: taken as text, judged together.

use std::{net::IpAddr, time::Duration};

use axum::http::Uri;
use clap::Args;

use crate::{config::BadSettings, http::client};

/// The name of the service in the project's Compose file.
const COMPOSE_HOST: &str = "leaky-service";
const MIN_RATE: f64 = 0.001;
const MAX_RATE: f64 = 100_000.0;
const MAX_CONCURRENCY: usize = 10_000;
const DEFAULT_DURATION: Duration = Duration::from_secs(60);

/// The arguments as typed.
#[derive(Debug, Clone, Args)]
pub struct RawPlan {
    /// What to GET; a service on this machine, or `leaky-service` in Compose
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/api/data")]
    pub url: String,

    /// Requests per second, sent when they are due whether or not earlier ones are answered; `max`: each connection sends
    /// the next request as soon as the last is answered
    #[arg(long, value_name = "N", default_value = "50")]
    pub rate: String,

    /// How long, as in `90s` or `5m` [default: 60s, or until --requests are sent]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,

    /// How many requests; with --duration, whichever comes first [default: no bound]
    #[arg(long, value_name = "N")]
    pub requests: Option<String>,

    /// Most requests on their way at once
    #[arg(long, value_name = "N", default_value = "50")]
    pub concurrency: String,
}

/// The arguments, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to GET.
    pub url: Uri,
    /// Requests per second; `None`: as fast as they are answered.
    pub rate: Option<f64>,
    /// Bound in time.
    pub duration: Option<Duration>,
    /// Bound in number. At least one of the two bounds is there.
    pub requests: Option<u64>,
    /// Most requests on their way at once.
    pub concurrency: usize,
}

impl RawPlan {
    /// Judges every value.
    ///
    /// # Errors
    /// All bad values, not only the first.
    pub fn judge(&self) -> Result<Plan, BadSettings> {
        let mut bad = Vec::new();
        let url = url(&self.url).map_err(|error| bad.push(error));
        let rate = rate(&self.rate).map_err(|error| bad.push(error));
        let duration = self.duration.as_deref().map(duration).transpose().map_err(|error| bad.push(error));
        let requests = self.requests.as_deref().map(requests).transpose().map_err(|error| bad.push(error));
        let concurrency = concurrency(&self.concurrency).map_err(|error| bad.push(error));
        match (url, rate, duration, requests, concurrency) {
            (Ok(url), Ok(rate), Ok(duration), Ok(requests), Ok(concurrency)) => {
                let duration = duration.or(requests.is_none().then_some(DEFAULT_DURATION));
                Ok(Plan { url, rate, duration, requests, concurrency })
            }
            _ => Err(BadSettings(bad)),
        }
    }
}

/// Load is for the lab only: this machine, or the service of that name in the lab's own network.
fn url(text: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("--url is {text:?}; {what}, such as http://127.0.0.1:8080/api/data");
    let url = client::parse_url(text).map_err(wrong)?;
    let host = client::host_of(&url);
    let own = match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => ["localhost", COMPOSE_HOST].iter().any(|own| host.eq_ignore_ascii_case(own)),
    };
    if own { Ok(url) } else { Err(wrong(&format!("load is sent to this machine or to {COMPOSE_HOST} only"))) }
}

fn rate(text: &str) -> Result<Option<f64>, String> {
    match (text.trim(), text.trim().parse::<f64>()) {
        ("max", _) => Ok(None),
        (_, Ok(0.0)) => Ok(None),
        (_, Ok(rate)) if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(Some(rate)),
        _ => Err(format!(
            "--rate is {text:?}; it wants requests per second from {MIN_RATE} to {MAX_RATE}, or `max` (or 0) for as fast as possible"
        )),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if !duration.is_zero() && duration <= Duration::from_secs(30 * 86_400) => Ok(duration),
        _ => Err(format!(
            "--duration is {text:?}; it wants a time with a unit, such as 60s or 5m, up to 30days"
        )),
    }
}

fn requests(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(requests) if requests > 0 => Ok(requests),
        _ => Err(format!("--requests is {text:?}; it wants a whole number from 1, such as 1000")),
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(concurrency @ 1..=MAX_CONCURRENCY) => Ok(concurrency),
        _ => Err(format!("--concurrency is {text:?}; it wants a whole number from 1 to {MAX_CONCURRENCY}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawPlan {
        RawPlan {
            url: "http://127.0.0.1:8080/api/data".into(),
            rate: "50".into(),
            duration: None,
            requests: None,
            concurrency: "50".into(),
        }
    }

    #[test]
    fn there_is_always_a_bound() {
        let plan = raw().judge().expect("the defaults are right");
        assert_eq!((plan.rate, plan.duration, plan.requests), (Some(50.0), Some(DEFAULT_DURATION), None));
        let plan =
            RawPlan { requests: Some("7".into()), rate: "max".into(), ..raw() }.judge().expect("right");
        assert_eq!((plan.rate, plan.duration, plan.requests), (None, None, Some(7)));
        let plan =
            RawPlan { requests: Some("7".into()), duration: Some("2m".into()), rate: "0".into(), ..raw() };
        let plan = plan.judge().expect("right");
        assert_eq!((plan.rate, plan.duration), (None, Some(Duration::from_secs(120))));
    }

    #[test]
    fn load_is_sent_to_the_lab_only() {
        for own in
            ["http://localhost/", "http://127.8.8.8:1/x", "http://[::1]:8080/", "http://leaky-service:8080/"]
        {
            assert!(RawPlan { url: own.into(), ..raw() }.judge().is_ok(), "{own}");
        }
        for foreign in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://0.0.0.0:8080/",
            "http://localhost.example.com/",
            "http://localhost@example.com/",
            "http://[::2]/",
            "https://localhost/",
            "localhost:8080",
            "",
        ] {
            let BadSettings(lines) = RawPlan { url: foreign.into(), ..raw() }.judge().expect_err(foreign);
            assert!(lines[0].contains("http://127.0.0.1:8080/api/data"), "{lines:?}");
        }
    }

    #[test]
    fn all_bad_values_are_reported_at_once() {
        let bad = RawPlan {
            url: "ftp://x".into(),
            rate: "-1".into(),
            duration: Some("60".into()),
            requests: Some("0".into()),
            concurrency: "many".into(),
        };
        let BadSettings(lines) = bad.judge().expect_err("every value is bad");
        let flags: Vec<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(flags, ["--url", "--rate", "--duration", "--requests", "--concurrency"]);
    }
}
