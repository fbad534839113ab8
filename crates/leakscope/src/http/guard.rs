//! Decides by the head of a request whether the routes answer it. It knows no route, and changes nothing.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};

use super::Error;

/// Why a request was refused. Its text is the message of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What shows that a proxy has passed the request on.
    #[error(
        "a proxy has passed this request on ({0}), and this route answers only requests that come directly"
    )]
    Forwarded(String),
    /// The Host header as it came: one that is not ours is what DNS rebinding looks like.
    #[error("the host {0:?} is not one that this route answers to")]
    Host(String),
    /// Where the browser said it came from.
    #[error("a page of another site or of another port ({0}) may not use this route")]
    CrossSite(String),
}

impl Refused {
    /// A name for programs; it never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forwarded(_) => "forwarded",
            Self::Host(_) => "host_not_allowed",
            Self::CrossSite(_) => "cross_site",
        }
    }
}

impl From<Refused> for Error {
    fn from(why: Refused) -> Self {
        let expected = match why {
            Refused::Forwarded(_) => {
                "a request without a proxy, or a program that calls `Builder::allow_forwarded`"
            }
            Refused::Host(_) => {
                "localhost, an address that `Builder::hosts` accepts, or a name given to `Builder::allow_host`"
            }
            Refused::CrossSite(_) => "curl, or a page of a host given to `Builder::allow_host`",
        };
        Self::new(StatusCode::FORBIDDEN, why.code(), why.to_string(), expected)
    }
}

/// Which hosts a request may name that were not given to [`Guard::allow_host`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hosts {
    /// `localhost` and the loopback addresses.
    Loopback,
    /// Those, and any other IP address. A page can make its own name resolve to this machine, but not an address, so that
    /// an address is no sign of DNS rebinding. Probes of Kubernetes and scrapes of Prometheus come by the pod's address.
    #[default]
    IpLiterals,
    /// Any host. Then nothing protects from DNS rebinding: a page of any site can read the answers, if its visitor's browser
    /// can reach the routes.
    Any,
}

/// Decides which requests are answered.
///
/// The routes ask for no password: whoever reaches their listener may ask. The guard refuses requests that reach it by an
/// accident of the network or through somebody's browser. They are answered with status 403 and one of these codes:
///
/// | what is refused | code | why | what allows it |
/// |---|---|---|---|
/// | A request with `Forwarded`, `Via` or any `X-Forwarded-*`, and one that names a host in HTTP/1.0, as nginx before 1.29.7 does unless told otherwise | `forwarded` | A proxy would open the routes to everybody whom it lets pass. | [`allow_forwarded`](Self::allow_forwarded) |
/// | A `Host` that is neither `localhost` nor an IP address ([`Hosts`] sets which) | `host_not_allowed` | A page can let its own name resolve to this machine (DNS rebinding). | [`allow_host`](Self::allow_host), [`hosts`](Self::hosts) |
/// | An `Origin` that is not the host and port of the request itself | `cross_site` | A page of another site, or of another port of this host, sent the request. | [`allow_host`](Self::allow_host), for pages of that host |
/// | `Sec-Fetch-Site: cross-site`, and `same-site` unless it is a link that is followed (GET with `Sec-Fetch-Mode: navigate`) | `cross_site` | The same. A page can't read what a link leads to. | nothing |
///
/// A request without a `Host` passes: no browser sends one.
///
/// # What it can't tell
///
/// A program that is not a browser can send any header, so the guard does not replace a password. A proxy that speaks HTTP/1.1
/// to the service, adds no header, and rewrites `Host` to the service's address can't be told from a client on this machine:
/// nginx from 1.29.7 on is one, unless it is told to add a header. Browsers send `Sec-Fetch-Site` only by HTTPS and to the
/// loopback. Serve the routes on a listener that no proxy leads to, or put a password before them.
///
/// ```
/// use leakscope::http::{Guard, Hosts};
///
/// let guard = Guard::default().hosts(Hosts::Loopback).allow_host("shop.internal");
/// let ask = |host: &str| http::Request::builder().header("host", host).body(()).unwrap();
/// assert!(guard.check(&ask("localhost:9100")).is_ok());
/// assert!(guard.check(&ask("shop.internal")).is_ok());
/// assert_eq!(guard.check(&ask("evil.example")).unwrap_err().code(), "host_not_allowed");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Guard {
    hosts: Hosts,
    names: Vec<String>,
    allows_forwarded: bool,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Guard {
    /// Sets which hosts are answered to without being named.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Also answers to that host name or address, which has no scheme and no port, and to pages of that host.
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Self {
        self.names.push(canonical(host.as_ref()));
        self
    }

    /// Also answers requests that a proxy has passed on. Then the proxy decides who may ask: let it ask for a password.
    pub fn allow_forwarded(mut self) -> Self {
        self.allows_forwarded = true;
        self
    }

    /// Judges a request by its head.
    ///
    /// # Errors
    /// The request is one of those in the [table](Self).
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let texts = |name| request.headers().get_all(name).iter().map(text);
        let hosts: Vec<&str> =
            texts(header::HOST).chain(request.uri().authority().map(|it| it.as_str())).collect();
        if let Some(sign) = forwarded(request).filter(|_| !self.allows_forwarded) {
            return Err(Refused::Forwarded(sign));
        }
        if let Some(host) = hosts.iter().find(|host| !self.answers_to(host)) {
            return Err(Refused::Host((*host).to_owned()));
        }
        if let Some(origin) = texts(header::ORIGIN).find(|origin| !self.trusts(origin, &hosts)) {
            return Err(Refused::CrossSite(format!("Origin: {origin}")));
        }
        let is_followed = request.method() == Method::GET && texts(SEC_FETCH_MODE).eq(["navigate"]);
        let is_ours = |site: &str| match site {
            "same-origin" | "none" => true,
            "same-site" => is_followed,
            _ => false,
        };
        match texts(SEC_FETCH_SITE).find(|site| !is_ours(site)) {
            Some(site) => Err(Refused::CrossSite(format!("Sec-Fetch-Site: {site}"))),
            None => Ok(()),
        }
    }

    fn answers_to(&self, authority: &str) -> bool {
        if self.hosts == Hosts::Any {
            return true;
        }
        let Some((host, _)) = host_and_port(authority) else { return false };
        let accepts =
            |address: IpAddr| self.hosts == Hosts::IpLiterals || address.to_canonical().is_loopback();
        host == "localhost" || self.names.contains(&host) || host.parse().is_ok_and(accepts)
    }

    /// Whether pages of `origin` may ask: those of the host and port that is asked, and those of hosts that were named.
    fn trusts(&self, origin: &str, asked: &[&str]) -> bool {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(page) = authority.and_then(host_and_port) else { return false };
        self.names.contains(&page.0) || asked.iter().any(|asked| host_and_port(asked).as_ref() == Some(&page))
    }
}

/// What shows that a proxy has passed a request on.
fn forwarded<B>(request: &Request<B>) -> Option<String> {
    let is_sign = |name: &&HeaderName| {
        **name == header::FORWARDED || **name == header::VIA || name.as_str().starts_with("x-forwarded")
    };
    let header = request.headers().keys().find(is_sign).map(HeaderName::to_string);
    // Unless it is told otherwise, nginx adds no header, and before 1.29.7 it speaks HTTP/1.0.
    let is_of_nginx = request.version() == Version::HTTP_10 && request.headers().contains_key(header::HOST);
    header.or_else(|| is_of_nginx.then(|| "HTTP/1.0 with a Host".to_owned()))
}

/// The host, in its canonical form, and the port of `host`, `host:port`, `[v6]` or `[v6]:port`; `None`: it is none of these.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if port.is_empty() => None,
        None => return None,
    };
    let host = canonical(host);
    (!host.is_empty()).then_some((host, port))
}

/// In lower case, without the brackets of an IPv6 address and without a final dot.
fn canonical(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

/// Not text: matches nothing.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Heads<'a> = &'a [(&'a str, &'a str)];

    fn request(method: &str, headers: Heads) -> Request<()> {
        let request = Request::builder().method(method).uri("/debug/memory");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request")
    }

    fn strict() -> Guard {
        Guard::default().hosts(Hosts::Loopback).allow_host("leaky-service").allow_host("Lab.Example")
    }

    fn check(headers: Heads) -> Result<(), Refused> {
        strict().check(&request("POST", headers))
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
            ".",
        ] {
            assert_eq!(check(&[("host", host)]), Err(Refused::Host(host.into())), "{host:?}");
        }
        let two = check(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(two, Err(Refused::Host("evil.example".into())), "the worst of two counts");
        let absolute = Request::builder().uri("http://evil.example/debug").header("host", "localhost");
        assert!(strict().check(&absolute.body(()).unwrap()).is_err(), "so does the one in the request line");
    }

    #[test]
    fn an_address_is_answered_to_by_default_and_a_name_only_if_any_is() {
        let answers = |guard: Guard, host| guard.check(&request("GET", &[("host", host)])).is_ok();
        for (host, by_default) in [
            ("10.1.2.3:9100", true),
            ("[fd00::1]:9100", true),
            ("localhost", true),
            ("shop.internal", false),
            ("10.1.2.3.evil.example", false),
        ] {
            assert_eq!(answers(Guard::default(), host), by_default, "{host}");
            assert!(answers(Guard::default().hosts(Hosts::Any), host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_or_port_is_refused_whatever_the_host() {
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example:8080",
            "file://",
            "localhost:8080",
            "http://",
            "http://localhost:3001",
            "http://127.0.0.1:8080",
        ] {
            let refused = Err(Refused::CrossSite(format!("Origin: {origin}")));
            assert_eq!(check(&[("host", "localhost:8080"), ("origin", origin)]), refused, "{origin}");
        }
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("lab.example", "https://LAB.example"),
            ("localhost:8080", "https://lab.example"),
        ] {
            assert_eq!(check(&[("host", host), ("origin", origin)]), Ok(()), "{host} {origin}");
        }
        for hosts in [Hosts::IpLiterals, Hosts::Any] {
            let by_page = request("POST", &[("host", "10.0.0.1:9100"), ("origin", "http://10.0.0.2:9100")]);
            assert!(Guard::default().hosts(hosts).check(&by_page).is_err(), "{hosts:?} opens no page's way");
        }
    }

    #[test]
    fn a_fetch_from_elsewhere_is_refused_even_without_an_origin_but_a_link_to_a_neighbour_is_not() {
        let ask = |method: &str, site: &str, mode: &str| {
            let headers = [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            strict().check(&request(method, &headers))
        };
        for (method, site, mode, passes) in [
            ("POST", "same-origin", "cors", true),
            ("GET", "none", "navigate", true),
            ("GET", "same-site", "navigate", true),
            ("POST", "same-site", "navigate", false),
            ("GET", "same-site", "no-cors", false),
            ("GET", "same-site", "cors", false),
            ("GET", "cross-site", "navigate", false),
            ("GET", "unheard-of", "navigate", false),
        ] {
            let refused = Refused::CrossSite(format!("Sec-Fetch-Site: {site}"));
            let expected = if passes { Ok(()) } else { Err(refused) };
            assert_eq!(ask(method, site, mode), expected, "{method} {site} {mode}");
        }
    }

    #[test]
    fn what_a_proxy_passed_on_is_refused_unless_that_is_allowed() {
        for header in ["forwarded", "via", "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-whatever"] {
            let by_proxy = request("GET", &[("host", "localhost"), (header, "192.0.2.1")]);
            let refused = Err(Refused::Forwarded(header.to_ascii_lowercase()));
            assert_eq!(Guard::default().check(&by_proxy), refused);
            assert_eq!(Guard::default().allow_forwarded().check(&by_proxy), Ok(()));
        }
        let mut by_nginx = request("GET", &[("host", "127.0.0.1:8080")]);
        *by_nginx.version_mut() = Version::HTTP_10;
        assert_eq!(Guard::default().check(&by_nginx).map_err(|why| why.code()), Err("forwarded"));
        by_nginx.headers_mut().clear();
        assert_eq!(Guard::default().check(&by_nginx), Ok(()), "an old client names no host");
        let foreign = request("GET", &[("host", "evil.example"), ("via", "1.1 proxy")]);
        assert!(Guard::default().allow_forwarded().check(&foreign).is_err(), "its host counts all the same");
    }
}
