//! The client: one request, its whole answer, within a time. For this service's own tools, which talk to this machine.
//!
//! No proxy is used and no redirect followed: both could lead to a host that was not meant.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, uri::Scheme};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// Keeps connections open between requests; clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
    answer_within: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Status of the answer, whatever it is.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not whole in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No connection, or nothing that is an answer came over it.
    #[error(transparent)]
    Request(#[from] legacy::Error),
    /// The answer broke off.
    #[error(transparent)]
    Body(#[from] hyper::Error),
}

impl Client {
    /// A client that waits for a whole answer no longer than that.
    pub fn new(answer_within: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let connections =
            legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { connections, answer_within }
    }

    /// GETs `url`, which [`parse_url`] has judged.
    ///
    /// # Errors
    /// There is no whole answer in time. An answer that is no success is no error.
    pub async fn get(&self, url: &Uri) -> Result<Answer, Error> {
        self.send(Method::GET, url, Bytes::new()).await
    }

    /// The same with another method and a body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn send(&self, method: Method, url: &Uri, body: Bytes) -> Result<Answer, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.clone();
        let answer = async {
            let (head, body) = self.connections.request(request).await?.into_parts();
            Ok(Answer { status: head.status, body: body.collect().await?.to_bytes() })
        };
        tokio::time::timeout(self.answer_within, answer)
            .await
            .unwrap_or(Err(Error::TimedOut(self.answer_within)))
    }
}

/// An absolute URL that the client can ask.
///
/// # Errors
/// What it wants to be, to be read after "it is wrong, ".
pub fn parse_url(text: &str) -> Result<Uri, &'static str> {
    let url: Uri = text.parse().map_err(|_| "it wants an http URL, percent-encoded")?;
    match (url.scheme(), url.authority()) {
        (Some(scheme), _) if *scheme == Scheme::HTTPS => Err("it wants http, since there is no TLS here"),
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => {
            let has_port = authority.as_str().len() > authority.host().len();
            if authority.as_str().contains('@') {
                Err("it wants an http URL without user and password, which would not be sent")
            } else if has_port && url.port_u16().is_none() {
                Err("it wants an http URL with a port of at most 65535")
            } else {
                Ok(url)
            }
        }
        _ => Err("it wants an http URL"),
    }
}

/// The host without the brackets of an IPv6 address.
pub fn host_of(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_urls_are_taken_with_port_path_and_query() {
        for (text, host, port, rest) in [
            ("http://localhost", "localhost", None, "/"),
            ("HTTP://127.0.0.1:8080/api/data?item=1#top", "127.0.0.1", Some(8080), "/api/data?item=1"),
            ("http://[::1]:1/%20", "::1", Some(1), "/%20"),
        ] {
            let url = parse_url(text).expect(text);
            assert_eq!((host_of(&url), url.port_u16()), (host, port), "{text}");
            assert_eq!(url.path_and_query().map(|rest| rest.as_str()), Some(rest), "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("https://localhost/", "TLS"),
            ("http://user:secret@localhost/", "password"),
            ("http://localhost/a b", "percent-encoded"),
            ("ftp://localhost/", "an http URL"),
            ("localhost:8080", "an http URL"),
            ("/api/data", "an http URL"),
            ("http://", "an http URL"),
            ("http://localhost:99999/", "an http URL"),
            ("", "an http URL"),
        ] {
            let refused = parse_url(text).expect_err(text);
            assert!(refused.contains(wrong), "{text:?}: {refused}");
        }
    }
}
