//! An axum server under the layer, a client that speaks HTTP/1.1 over a socket of its own, and what the layer said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use leakscope::request::{Measured, RequestAccounting, Sink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Long enough that only something which never happens takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a request that keeps nothing may read, and what one that keeps N may read beside N, in bytes.
pub const TOLERANCE: i64 = 512;

pub type Finished = (String, Measured);

/// Sinks that report the path of their request and what it measured, and the receiving end.
#[derive(Clone)]
pub struct Reports(mpsc::UnboundedSender<Finished>);

impl Reports {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Finished>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub fn layer(&self) -> RequestAccounting<impl Fn(&http::request::Parts) -> Report + Clone + use<>> {
        let sender = self.0.clone();
        RequestAccounting::new(move |request: &http::request::Parts| Report {
            path: request.uri.path().to_owned(),
            sender: sender.clone(),
        })
    }
}

pub struct Report {
    path: String,
    sender: mpsc::UnboundedSender<Finished>,
}

impl Sink for Report {
    fn finish(self, measured: Measured) {
        // A test that has seen enough may have hung up.
        let _ = self.sender.send((self.path, measured));
    }
}

pub struct Lab {
    address: std::net::SocketAddr,
    finished: mpsc::UnboundedReceiver<Finished>,
}

impl Lab {
    /// Serves `app` under one layer.
    pub async fn start(app: Router) -> Self {
        let (reports, finished) = Reports::new();
        Self::start_layered(app.layer(reports.layer()), finished).await
    }

    /// Serves an `app` that is layered already and reports to `finished`.
    pub async fn start_layered(app: Router, finished: mpsc::UnboundedReceiver<Finished>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { address, finished }
    }

    pub async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), received: Vec::new() }
    }

    /// The next request that is over.
    pub async fn finished(&mut self) -> Finished {
        timeout(PATIENCE, self.finished.recv()).await.expect("a request ends").expect("the server runs")
    }

    /// Asserts that no request is over that has not been asked for.
    pub fn assert_none_finished(&mut self) {
        assert!(self.finished.try_recv().is_err(), "a request was over too early, or twice");
    }

    /// Sends a request on `client` and returns what it retained.
    pub async fn retained(&mut self, client: &mut Client, request: &str, body: &[u8]) -> i64 {
        client.send(request, body).await;
        let head = client.read_response().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{request}: {head}");
        let (path, measured) = self.finished().await;
        assert_eq!(Some(path.as_str()), request.split_whitespace().nth(1));
        measured.retained_bytes()
    }
}

pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Sends `GET /path` or `POST /path`, with more header lines after it, and a body.
    pub async fn send(&mut self, request: &str, body: &[u8]) {
        let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
        let mut message = format!("{line} HTTP/1.1\r\nhost: lab\r\n");
        for header in headers.lines() {
            message.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            message.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        message.push_str("\r\n");
        self.stream.write_all(message.as_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
    }

    /// Reads until `needle` has come, and returns all up to its end.
    pub async fn read_until(&mut self, needle: &[u8]) -> Vec<u8> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.received.len());
            if let Some(at) = self.received[from..].windows(needle.len()).position(|part| part == needle) {
                return self.received.drain(..from + at + needle.len()).collect();
            }
            searched = self.received.len().saturating_sub(needle.len());
            self.read_some().await;
        }
    }

    /// Reads one response, with a length or chunked, and returns its head.
    pub async fn read_response(&mut self) -> String {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n").await).unwrap();
        if head.contains("transfer-encoding: chunked") {
            self.read_until(b"\r\n0\r\n\r\n").await;
            return head;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().unwrap();
        while self.received.len() < length {
            self.read_some().await;
        }
        self.received.drain(..length);
        head
    }

    /// Reads to the end of the connection; an error is an end.
    pub async fn read_to_end(&mut self) {
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut self.received)).await.expect("an end");
    }

    async fn read_some(&mut self) {
        let read =
            timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "the server closed the connection");
    }
}

/// What handlers keep, for good. It never grows itself, so that a request pays for what it keeps only.
#[derive(Clone)]
pub struct Kept<T>(Arc<Mutex<Vec<T>>>);

impl<T> Kept<T> {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(10_000))))
    }

    pub fn keep(&self, value: T) {
        self.0.lock().unwrap().push(value);
    }
}

/// The bytes that jemalloc counts for a buffer of `size`: those of its size class.
pub fn size_class(size: usize) -> i64 {
    if size == 0 {
        return 0;
    }
    let buffer = Vec::<u8>::with_capacity(size);
    // SAFETY: the pointer is that of an allocation of jemalloc's, the program's allocator, which still lives.
    unsafe { tikv_jemallocator::usable_size(buffer.as_ptr()) as i64 }
}
