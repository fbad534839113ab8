//! Request accounting through real hyper: each request reads what it kept, within 512 bytes of the size class.
//!
//! The counters are per thread, so tests that run next to each other do not disturb one another.

mod lab;

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, header::SET_COOKIE};
use axum::middleware::{Next, from_fn};
use axum::response::AppendHeaders;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body::Frame;

use lab::{Kept, Lab, Reports, TOLERANCE, size_class};

const ROUNDS: usize = 20;

#[track_caller]
fn assert_retained(retained: i64, wanted: i64) {
    assert!((retained - wanted).abs() <= TOLERANCE, "retained {retained} B, wanted {wanted} B");
}

/// `/nothing`, `/keep/{bytes}`, and three that answer with a body of 100 kB: of their own, static, of a cache.
fn app() -> Router {
    const PAGE: &[u8] = &[b'x'; 100_000];
    let cache = Bytes::from(PAGE.to_vec());
    Router::new()
        .route("/nothing", get(|| async { format!("{:?}", vec![1; 300]) }))
        .route("/keep/{bytes}", get(keep))
        .route("/own", get(|| async { PAGE.to_vec() }))
        .route("/static", get(|| async { PAGE }))
        .route("/cached", get(|| async move { cache }))
        .with_state(Kept::new())
}

async fn keep(State(kept): State<Kept<Vec<u8>>>, Path(bytes): Path<usize>) -> &'static str {
    kept.keep(vec![1; bytes]);
    "kept"
}

#[tokio::test]
async fn counters_are_available() {
    assert_eq!(leakscope::request::available(), Ok(()));
}

#[tokio::test]
async fn a_request_that_keeps_nothing_reads_nothing() {
    let mut lab = Lab::start(app()).await;
    for path in ["/nothing", "/own", "/static", "/cached"] {
        let mut client = lab.connect().await;
        for _ in 0..ROUNDS {
            assert_retained(lab.retained(&mut client, &format!("GET {path}"), b"").await, 0);
        }
        for _ in 0..ROUNDS {
            let mut client = lab.connect().await;
            let request = format!("GET {path}\nconnection: close");
            assert_retained(lab.retained(&mut client, &request, b"").await, 0);
        }
    }
}

#[tokio::test]
async fn a_request_that_keeps_n_reads_n() {
    let mut lab = Lab::start(app()).await;
    for bytes in [600, 1_000, 5_000, 12 << 10, 24 << 10, 100_000, 1 << 20] {
        let mut client = lab.connect().await;
        for _ in 0..ROUNDS {
            let retained = lab.retained(&mut client, &format!("GET /keep/{bytes}"), b"").await;
            assert_retained(retained, size_class(bytes));
        }
        let mut client = lab.connect().await;
        let request = format!("GET /keep/{bytes}\nconnection: close");
        assert_retained(lab.retained(&mut client, &request, b"").await, size_class(bytes));
    }
}

#[tokio::test]
async fn heads_count_for_neither_side() {
    async fn big_head() -> ([(HeaderName, String); 2], &'static str) {
        let value = |letter: &str| letter.repeat(5_000);
        let names = ["x-first", "x-second"].map(HeaderName::from_static);
        let [first, second] = names;
        ([(first, value("a")), (second, value("b"))], "big head")
    }
    let mut lab = Lab::start(Router::new().route("/head", get(big_head))).await;
    let mut request = String::from("GET /head");
    for number in 0..60 {
        request.push_str(&format!("\nx-header-{number}: {}", "v".repeat(100)));
    }
    let mut client = lab.connect().await;
    for _ in 0..ROUNDS {
        assert_retained(lab.retained(&mut client, &request, b"").await, 0);
    }
}

#[tokio::test]
async fn a_request_body_counts_only_if_it_is_kept() {
    async fn keep_body(State(kept): State<Kept<Bytes>>, body: Bytes) -> &'static str {
        kept.keep(body);
        "kept"
    }
    let app = Router::new()
        .route("/unread", post(|| async { "ok" }))
        .route("/read", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/echo", post(|body: Body| async { Body::new(body) }))
        .route("/keep", post(keep_body))
        .with_state(Kept::new());
    let mut lab = Lab::start(app).await;
    for size in [100, 32 << 10, 400_000] {
        let body = vec![b'b'; size];
        for (path, wanted) in [("/read", 0), ("/echo", 0), ("/keep", size as i64)] {
            let mut client = lab.connect().await;
            for _ in 0..ROUNDS {
                let retained = lab.retained(&mut client, &format!("POST {path}"), &body).await;
                // A body in many frames is joined in one buffer of the handler's, which is a size class or two larger.
                let slack = wanted / 4;
                assert!(
                    (wanted - TOLERANCE..=wanted + slack + TOLERANCE).contains(&retained),
                    "{path}: {retained}"
                );
            }
        }
        let mut client = lab.connect().await;
        assert_retained(lab.retained(&mut client, "POST /unread\nconnection: close", &body).await, 0);
    }
}

/// A response body of `frames` frames of 8 KiB, each made when it is asked for, between two rests; `keep` sees each.
struct Stream<F> {
    frames: usize,
    rest: Pin<Box<tokio::time::Sleep>>,
    keep: F,
    // Freed with the body only.
    _held: Vec<u8>,
}

impl<F> Stream<F> {
    fn new(frames: usize, keep: F) -> Self {
        Self { frames, rest: Box::pin(tokio::time::sleep(Duration::ZERO)), keep, _held: vec![1; 20_000] }
    }
}

impl<F: FnMut(&[u8]) + Unpin> http_body::Body for Stream<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::ready!(self.rest.as_mut().poll(cx));
        if self.frames == 0 {
            return Poll::Ready(None);
        }
        self.frames -= 1;
        let next = tokio::time::Instant::now() + Duration::from_millis(1);
        self.rest.as_mut().reset(next);
        let frame = vec![b's'; 8 << 10];
        (self.keep)(&frame);
        Poll::Ready(Some(Ok(Frame::data(frame.into()))))
    }
}

#[tokio::test]
async fn a_streaming_body_is_measured_until_it_is_dropped() {
    let kept = Kept::new();
    let keep_each = move || {
        let kept = kept.clone();
        async move { Body::new(Stream::new(10, move |frame: &[u8]| kept.keep(frame[..5_000].to_vec()))) }
    };
    let app = Router::new()
        .route("/stream", get(|| async { Body::new(Stream::new(10, |_: &[u8]| ())) }))
        .route("/keep-each", get(keep_each));
    let mut lab = Lab::start(app).await;
    let mut client = lab.connect().await;
    for _ in 0..ROUNDS {
        assert_retained(lab.retained(&mut client, "GET /stream", b"").await, 0);
        assert_retained(lab.retained(&mut client, "GET /keep-each", b"").await, 10 * size_class(5_000));
    }
}

/// Gives way once. (tokio's `yield_now` keeps a list of wakers that grows, at the expense of whoever is first.)
async fn wake_again() {
    let mut woken = false;
    poll_fn(|cx| {
        if woken {
            return Poll::Ready(());
        }
        woken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_on_many_threads_each_read_their_own() {
    const REQUESTS: usize = 64;
    type Hops = Arc<Mutex<Vec<usize>>>;
    async fn wander(
        State((kept, hops)): State<(Kept<Vec<u8>>, Hops)>,
        Path(bytes): Path<usize>,
    ) -> &'static str {
        let mut threads = HashSet::new();
        for step in 0..50 {
            threads.insert(std::thread::current().id());
            // Held across the await: allocated on one thread, often freed on another.
            let held = vec![1_u8; 50_000 + step];
            if step % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else {
                wake_again().await;
            }
            drop(held);
        }
        kept.keep(vec![1; bytes]);
        hops.lock().unwrap().push(threads.len());
        "kept"
    }
    let hops = Hops::default();
    hops.lock().unwrap().reserve(REQUESTS);
    let app = Router::new().route("/keep/{bytes}", get(wander)).with_state((Kept::new(), hops.clone()));
    let mut lab = Lab::start(app).await;
    for number in 0..REQUESTS {
        let mut client = lab.connect().await;
        tokio::spawn(async move {
            client.send(&format!("GET /keep/{}", 1_000 * (number + 1)), b"").await;
            client.read_response().await;
        });
    }
    for _ in 0..REQUESTS {
        let (path, measured) = lab.finished().await;
        let bytes: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        assert_retained(measured.retained_bytes(), size_class(bytes));
        assert!(measured.freed_bytes >= 50 * 50_000, "{path} freed its buffers: {measured:?}");
    }
    let hopped = hops.lock().unwrap().iter().filter(|&&threads| threads > 1).count();
    assert!(hopped > 0, "no request changed its thread: the test shows nothing");
}

#[tokio::test]
async fn nested_layers_each_read_what_is_inside() {
    const OUTER_KEEPS: usize = 20_000;
    let kept = Kept::new();
    let between = from_fn(move |request: Request, next: Next| {
        let kept: Kept<Vec<u8>> = kept.clone();
        async move {
            kept.keep(vec![1; OUTER_KEEPS]);
            // Bodies made between the layers: they are the outer one's to pay for, both ways.
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let response = next.run(Request::from_parts(head, Body::from(body))).await;
            response.map(|body| Body::new(Box::pin(body)))
        }
    });
    async fn keep_and_read(
        State(kept): State<Kept<Vec<u8>>>,
        Path(bytes): Path<usize>,
        body: Bytes,
    ) -> String {
        kept.keep(vec![1; bytes]);
        body.len().to_string()
    }
    let (outer, outer_finished) = Reports::new();
    let (inner, mut inner_finished) = Reports::new();
    let app = Router::new()
        .route("/keep/{bytes}", post(keep_and_read))
        .with_state(Kept::new())
        .layer(inner.layer())
        .layer(between)
        .layer(outer.layer());
    let mut lab = Lab::start_layered(app, outer_finished).await;
    let mut client = lab.connect().await;
    for bytes in [0, 5_000, 100_000] {
        for _ in 0..ROUNDS {
            let request = format!("POST /keep/{bytes}");
            let outside = lab.retained(&mut client, &request, &[b'n'; 32 << 10]).await;
            let (_, inside) = inner_finished.recv().await.unwrap();
            assert_retained(inside.retained_bytes(), size_class(bytes));
            assert_retained(outside, size_class(bytes) + size_class(OUTER_KEEPS));
        }
    }
}

#[tokio::test]
async fn a_panicking_handler_ends_its_request_once() {
    async fn panic() -> &'static str {
        let _held = vec![1_u8; 100_000];
        tokio::task::yield_now().await;
        panic!("on purpose")
    }
    let mut lab = Lab::start(app().route("/panic", get(panic))).await;
    for _ in 0..3 {
        let mut client = lab.connect().await;
        client.send("GET /panic", b"").await;
        client.read_to_end().await;
        let (path, measured) = lab.finished().await;
        assert_eq!(path, "/panic");
        // The payload outlives the request, and the hook keeps what it has read of the symbols.
        assert!(measured.freed_bytes >= 100_000, "{measured:?}");
        let mut client = lab.connect().await;
        assert_retained(lab.retained(&mut client, "GET /nothing", b"").await, 0);
    }
    lab.assert_none_finished();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_once() {
    async fn never() -> &'static str {
        let _held = vec![1_u8; 100_000];
        std::future::pending().await
    }
    let endless = || async { Body::new(Stream::new(usize::MAX, |_: &[u8]| ())) };
    let app = app().route("/endless", get(endless)).route("/never", get(never));
    let mut lab = Lab::start(app).await;
    for path in ["/endless", "/never"] {
        for _ in 0..3 {
            let mut client = lab.connect().await;
            client.send(&format!("GET {path}"), b"").await;
            if path == "/endless" {
                client.read_until(&[b's'; 8_000]).await;
            }
            lab.assert_none_finished();
            drop(client);
            let (finished, measured) = lab.finished().await;
            assert_eq!(finished, path);
            assert_retained(measured.retained_bytes(), 0);
            let mut client = lab.connect().await;
            assert_retained(lab.retained(&mut client, "GET /nothing", b"").await, 0);
        }
    }
    lab.assert_none_finished();
}

#[tokio::test]
async fn headers_arrive_as_they_were_sent() {
    async fn marked() -> (AppendHeaders<[(HeaderName, HeaderValue); 3]>, &'static str) {
        let mut secret = HeaderValue::from_static("s3cret");
        secret.set_sensitive(true);
        let [one, two] = ["one", "two"].map(|value| (SET_COOKIE, HeaderValue::from_static(value)));
        (AppendHeaders([one, (HeaderName::from_static("x-secret"), secret), two]), "marked")
    }
    let mut lab = Lab::start(Router::new().route("/marked", get(marked))).await;
    let mut client = lab.connect().await;
    client.send("GET /marked", b"").await;
    let head = client.read_response().await;
    assert!(head.contains("x-secret: s3cret\r\n"), "{head}");
    assert!(head.contains("set-cookie: one\r\nset-cookie: two\r\n"), "{head}");
    lab.finished().await;
}
