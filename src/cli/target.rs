//! The running service that a command asks.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::{
    config,
    http::client::{Client, parse_url},
    supervisor,
};

/// Longest time for one answer: a check reads the journal.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which service.
#[derive(Debug, Args)]
pub struct Target {
    /// The service to ask [default: the address of --listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Where the service listens
    #[arg(long, env = "LEAKLAB_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Why there is no answer.
pub enum NoAnswer {
    /// Nobody answers there.
    Nobody(Failure),
    /// The service does not do what was asked.
    Refused(Failure),
}

impl From<NoAnswer> for Failure {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Nobody(failure) | NoAnswer::Refused(failure) => failure,
        }
    }
}

impl Target {
    /// GET of a path.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        self.ask(Method::GET, path, None)
    }

    /// POST to a path.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&Value>) -> Result<T, NoAnswer> {
        self.ask(Method::POST, path, body)
    }

    fn base(&self) -> Result<String, String> {
        match &self.url {
            Some(url) => Ok(url.trim_end_matches('/').to_owned()),
            None => Ok(format!("http://{}", supervisor::reachable(config::parse_listen(&self.listen)?))),
        }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, NoAnswer> {
        let base = self.base().map_err(|bad| NoAnswer::Refused(Failure::usage(bad)))?;
        let url = parse_url(&format!("{base}{path}")).map_err(|wrong| {
            let message = format!("--url is {base:?}; {wrong}, such as http://127.0.0.1:8080");
            NoAnswer::Refused(Failure::usage(message))
        })?;
        let nobody = |error: &dyn std::fmt::Display| {
            let message = format!(
                "no service answers at {base} ({error}); start one with `leaklab`, or name it with --url"
            );
            NoAnswer::Nobody(Failure::unavailable(message))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| nobody(&error))?;
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        // Within the runtime: the client keeps a timer there.
        let answer = runtime.block_on(async { Client::new(TIMEOUT).send(method, &url, body).await });
        let answer = answer.map_err(|error| nobody(&error))?;
        let (status, answer) = (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null));
        if status != StatusCode::OK {
            let text = |field: &str| answer["error"][field].as_str().unwrap_or("nothing").to_owned();
            let message = format!("{}; it wants {}", text("message"), text("expected"));
            return Err(NoAnswer::Refused(Failure::usage(message)));
        }
        serde_json::from_value(answer).map_err(|_| {
            let message = format!("what answers at {base} is no leaklab service of this version");
            NoAnswer::Refused(Failure::unavailable(message))
        })
    }
}
