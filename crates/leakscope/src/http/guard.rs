//! Keeps browsers of other sites off the routes that control the service.
//!
//! A page on the web can make its visitor's browser send requests to `localhost`: across sites, or through a name of its
//! own that it lets resolve to 127.0.0.1 (DNS rebinding). Both show in headers that a page can't forge. A program that is
//! no browser may send what it likes; the guard is not for it, so a request without a Host (HTTP/1.0) passes.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use super::Error;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The Host header as it came: one that is not ours is what DNS rebinding looks like.
    #[error("the host {0:?} is not one that this route answers to")]
    Host(String),
    /// Where the browser said it came from.
    #[error("a page of another site ({0}) may not use this route")]
    CrossSite(String),
}

impl Refused {
    /// A name for programs; it never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Host(_) => "host_not_allowed",
            Self::CrossSite(_) => "cross_site",
        }
    }
}

impl From<Refused> for Error {
    fn from(why: Refused) -> Self {
        let expected = match why {
            Refused::Host(_) => "localhost, a loopback address, or a name given to `Builder::allow_host`",
            Refused::CrossSite(_) => "curl, or a page of a host given to `Builder::allow_host`",
        };
        Self::new(StatusCode::FORBIDDEN, why.code(), why.to_string(), expected)
    }
}

/// The hosts answered to, beside loopback names and addresses.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed_hosts: Vec<String>,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Guard {
    /// `allowed_hosts`: names or addresses without scheme or port, in lower case.
    pub fn new(allowed_hosts: Vec<String>) -> Self {
        Self { allowed_hosts }
    }

    /// Judges a request by its headers.
    ///
    /// # Errors
    /// The host or the origin is foreign, or the browser says that another site sent it.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let hosts =
            headers.get_all(header::HOST).iter().map(text).chain(uri.authority().map(|it| it.as_str()));
        for host in hosts {
            if !self.knows(host) {
                return Err(Refused::Host(host.to_owned()));
            }
        }
        for origin in headers.get_all(header::ORIGIN).iter().map(text) {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !host.is_some_and(|host| self.knows(host)) {
                return Err(Refused::CrossSite(format!("Origin: {origin}")));
            }
        }
        for site in headers.get_all(SEC_FETCH_SITE).iter().map(text) {
            if !["same-origin", "same-site", "none"].contains(&site) {
                return Err(Refused::CrossSite(format!("Sec-Fetch-Site: {site}")));
            }
        }
        Ok(())
    }

    /// Whether `authority` (a host with an optional port) is ours.
    fn knows(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback());
        host == "localhost"
            || is_loopback(without_brackets(&host))
            || self.allowed_hosts.iter().any(|allowed| without_brackets(allowed) == without_brackets(&host))
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`, an IPv6 address in its brackets; `None`: it is none of these.
fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (port_fits && !host.is_empty()).then_some(host)
}

/// Not text: matches nothing.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<(), Refused> {
        let guard = Guard::new(vec!["leaky-service".into(), "lab.example".into()]);
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"))
            })
            .collect();
        guard.check(&Uri::from_static("/admin/gc"), &headers)
    }

    #[test]
    fn loopback_and_allowed_hosts_pass_with_any_port() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.:80",
            "127.0.0.1:8080",
            "127.8.9.10",
            "[::1]",
            "[::1]:65535",
            "[::ffff:127.0.0.1]:1",
            "leaky-service:8080",
            "Lab.Example",
        ] {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check(&[]), Ok(()), "no Host: not a browser");
    }

    #[test]
    fn foreign_and_malformed_hosts_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "10.0.0.1:8080",
            "0.0.0.0",
            "[::2]:8080",
            "[::1",
            "[::1]x",
            "localhost:port",
            "localhost:99999",
            "user@localhost",
            "::1",
            "",
            ":8080",
        ] {
            assert_eq!(check(&[("host", host)]), Err(Refused::Host(host.into())), "{host:?}");
        }
        let two = check(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(two, Err(Refused::Host("evil.example".into())), "the worst of two counts");
    }

    #[test]
    fn a_foreign_origin_is_refused_whatever_the_host() {
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "file://",
            "localhost",
            "http://",
        ] {
            let refused = Err(Refused::CrossSite(format!("Origin: {origin}")));
            assert_eq!(check(&[("host", "localhost"), ("origin", origin)]), refused, "{origin}");
        }
        for origin in ["http://localhost:3001", "https://lab.example", "http://[::1]:8080"] {
            assert_eq!(check(&[("host", "localhost"), ("origin", origin)]), Ok(()), "{origin}");
        }
    }

    #[test]
    fn a_cross_site_fetch_is_refused_even_without_an_origin() {
        let refused = Err(Refused::CrossSite("Sec-Fetch-Site: cross-site".into()));
        assert_eq!(check(&[("host", "localhost"), ("sec-fetch-site", "cross-site")]), refused);
        for site in ["same-origin", "same-site", "none"] {
            assert_eq!(check(&[("host", "localhost"), ("sec-fetch-site", site)]), Ok(()), "{site}");
        }
    }
}
