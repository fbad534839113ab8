//! `leaklab healthcheck`: for containers, every few seconds; so no runtime, no client, one thread.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::{Duration, Instant},
};

use axum::http::{Uri, uri::PathAndQuery};
use clap::Args;

use super::Failure;
use crate::{
    config,
    http::client::{host_of, parse_url},
    supervisor,
};

/// Longest time for the whole check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Arguments of `leaklab healthcheck`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to ask [default: /readyz on the address of --listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Where the service listens
    #[arg(long, env = "LEAKLAB_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Asks once.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => {
            let address = config::parse_listen(&arguments.listen).map_err(Failure::usage)?;
            format!("http://{}/readyz", supervisor::reachable(address))
        }
    };
    let url = parse_url(&url).map_err(|wrong| {
        Failure::usage(format!("--url is {url:?}; {wrong}, such as http://127.0.0.1:8080/readyz"))
    })?;
    match status(&url) {
        Ok(200..=299) => Ok(ExitCode::SUCCESS),
        Ok(status) => Err(Failure { message: format!("{url} answered {status}"), code: 1 }),
        Err(error) => Err(Failure { message: format!("{url} did not answer: {error}"), code: 1 }),
    }
}

fn status(url: &Uri) -> std::io::Result<u16> {
    let deadline = Instant::now() + TIMEOUT;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(std::io::Error::from(std::io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let port = url.port_u16().unwrap_or(80);
    let address = (host_of(url), port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let what = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let host = url.host().unwrap_or_default();
    let request = format!("GET {what} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // "HTTP/1.1 200": twelve bytes say it all.
    let mut line = [0; 12];
    let mut read = 0;
    while read < line.len() {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut line[read..])? {
            0 => break,
            length => read += length,
        }
    }
    let line = String::from_utf8_lossy(&line[..read]);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn check_against(answer: &'static [u8]) -> Result<ExitCode, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(answer).expect("the client is there");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let result = run(&Arguments { url: None, listen: address.to_string() });
        let request = server.join().expect("no panic");
        assert!(request.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        result
    }

    #[test]
    fn ready_is_0_and_anything_else_is_1() {
        assert!(check_against(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        for other in [
            &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..],
            b"",
            b"SSH-2.0-OpenSSH_9.2",
            b"HTTP/1.1 \xff\xff\xff",
        ] {
            assert_eq!(check_against(other).expect_err("not ready").code, 1);
        }
    }

    #[test]
    fn nobody_there_is_1_and_a_bad_address_is_64() {
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let check = |url: Option<&str>, listen: &str| {
            run(&Arguments { url: url.map(str::to_owned), listen: listen.to_owned() })
                .expect_err("not ready")
                .code
        };
        assert_eq!(check(None, &free.to_string()), 1);
        assert_eq!(check(None, "8080"), super::super::USAGE);
        assert_eq!(check(Some("https://127.0.0.1/readyz"), "127.0.0.1:1"), super::super::USAGE);
    }
}
