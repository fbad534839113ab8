//! What request accounting costs a request, printed: `cargo test --release -p leakscope --test it request_cost -- --ignored
//! --nocapture`.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use leakscope::request::{Measured, RequestAccounting, available};
use tower_layer::Layer;
use tower_service::Service;

const REQUESTS: u32 = 200_000;
const ROUNDS: usize = 11;

#[derive(Clone)]
struct Handler;

impl<B> Service<Request<B>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        ready(Ok("hello".into_response()))
    }
}

/// This thread's time on a processor so far: unlike the clock's, it does not run while others have the processor.
fn cpu_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that the call may write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Nanoseconds per request, from making it to dropping what is left of its response.
fn ns_per_request<S, B>(service: &mut S, headers: usize) -> f64
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
{
    let names =
        ["accept", "accept-encoding", "accept-language", "cookie", "host", "referer", "user-agent", "x-id"];
    // As a server's: slices of one buffer.
    let value =
        HeaderValue::from_maybe_shared(Bytes::from(b"some value in a read buffer".to_vec()).slice(..10))
            .unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let start = cpu_ns();
    for _ in 0..REQUESTS {
        let mut request = Request::get("/hello");
        for name in &names[..headers] {
            request = request.header(*name, value.clone());
        }
        let request = request.body(Body::empty()).unwrap();
        let mut future = std::pin::pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else { panic!("it is ready") };
        let mut body = std::pin::pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(cx) {
            black_box(frame.is_ok());
        }
    }
    (cpu_ns() - start) as f64 / f64::from(REQUESTS)
}

#[test]
#[ignore = "a measurement, not a check"]
fn cost_per_request() {
    assert_eq!(available(), Ok(()));
    let mut measured = RequestAccounting::new(|_: &http::request::Parts| {
        |measured: Measured| {
            black_box(measured);
        }
    })
    .layer(Handler);
    for headers in [1, 8] {
        // In pairs, so that a slow moment of the machine meets both.
        let mut costs: Vec<f64> = (0..ROUNDS)
            .map(|_| -ns_per_request(&mut Handler, headers) + ns_per_request(&mut measured, headers))
            .collect();
        costs.sort_by(f64::total_cmp);
        println!("{headers} headers: {:.0} ns more per request (median of {ROUNDS})", costs[ROUNDS / 2]);
    }
}
