//! The running service that a command asks.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, StatusCode, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::{config, supervisor};

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
        let answer = async {
            // Never through a proxy and never after a redirect: the service is here or nowhere.
            let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(TIMEOUT).build()?;
            let request = client.request(method, format!("{base}{path}"));
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.json::<Value>().await?))
        };
        let (status, answer) = runtime.block_on(answer).map_err(|error| nobody(&error))?;
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
