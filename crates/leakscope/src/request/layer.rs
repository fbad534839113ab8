//! The tower layer: opens an account for each request and charges its service's calls and polls to it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::account::Account;
use super::body::{RequestBody, ResponseBody};
use super::head::copy_of;
use super::{Sink, available, thread};

/// Measures what each request allocates and frees. See the [module](super) for what that includes.
#[derive(Clone, Debug)]
pub struct RequestAccounting<F> {
    on_request: F,
    requests: Option<Arc<AtomicU64>>,
}

impl<F> RequestAccounting<F> {
    /// A layer that calls `on_request` with the head of each request, before the service sees it, and tells the [`Sink`]
    /// which that returns what the request allocated and freed, exactly once, when it is over.
    ///
    /// Where the [counters are not there](available), the layer passes requests through and never calls `on_request`.
    pub fn new<S>(on_request: F) -> Self
    where
        F: Fn(&Parts) -> S,
        S: Sink,
    {
        Self { on_request, requests: None }
    }

    /// Adds one to `requests` for each request that comes in, measured or not: what a trend is to be told by.
    pub fn counting(self, requests: Arc<AtomicU64>) -> Self {
        Self { requests: Some(requests), ..self }
    }
}

impl<Svc, F: Clone> Layer<Svc> for RequestAccounting<F> {
    type Service = Accounted<Svc, F>;

    fn layer(&self, inner: Svc) -> Self::Service {
        let (on_request, requests) = (self.on_request.clone(), self.requests.clone());
        Accounted { inner, on_request, requests, measured: available().is_ok() }
    }
}

/// A service whose requests are measured. Made by [`RequestAccounting`].
#[derive(Clone, Debug)]
pub struct Accounted<Svc, F> {
    inner: Svc,
    on_request: F,
    requests: Option<Arc<AtomicU64>>,
    measured: bool,
}

impl<Svc, F, S, ReqBody, ResBody> Service<Request<ReqBody>> for Accounted<Svc, F>
where
    Svc: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    F: Fn(&Parts) -> S,
    S: Sink,
{
    type Response = Response<ResponseBody<ResBody, S>>;
    type Error = Svc::Error;
    type Future = ResponseFuture<Svc::Future, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if let Some(requests) = &self.requests {
            requests.fetch_add(1, Relaxed);
        }
        let (head, body) = request.into_parts();
        let sink = self.measured.then(|| thread::unmeasured(|| (self.on_request)(&head)));
        call(&mut self.inner, Request::from_parts(head, body), sink)
    }
}

/// Calls `service` with `request` and tells `sink` what that allocated and freed, once, when it is over; without a sink
/// nothing is measured. For a middleware of your own that keeps something for each request anyway: it needs no layer beside
/// it. Give it a sink only where the [counters are there](available).
pub fn call<Svc, S, ReqBody, ResBody>(
    service: &mut Svc,
    request: Request<ReqBody>,
    sink: Option<S>,
) -> ResponseFuture<Svc::Future, S>
where
    Svc: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    S: Sink,
{
    let Some(sink) = sink else {
        let inner = service.call(request.map(|body| RequestBody::new(body, false)));
        return ResponseFuture { inner: Some(inner), account: None };
    };
    let (came_in, body) = request.into_parts();
    let account = Arc::new(Account::new(sink, came_in));
    let inner = account.tally.measure(|| {
        let head = account.copy_of_head();
        service.call(Request::from_parts(head, RequestBody::new(body, true)))
    });
    ResponseFuture { inner: Some(inner), account: Some(account) }
}

pin_project! {
    /// The future of a measured request's response.
    pub struct ResponseFuture<F, S: Sink> {
        #[pin]
        inner: Option<F>,
        account: Option<Arc<Account<S>>>,
    }

    impl<F, S: Sink> PinnedDrop for ResponseFuture<F, S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(account) = this.account {
                account.tally.measure(|| this.inner.set(None));
            }
        }
    }
}

impl<F, S, ResBody, E> Future for ResponseFuture<F, S>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    S: Sink,
{
    type Output = Result<Response<ResponseBody<ResBody, S>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut poll = || {
            let inner = this.inner.as_mut().as_pin_mut().expect("not polled again once it is ready");
            let result = ready!(inner.poll(cx));
            // What the future still owns is freed here, where it is measured, not by whoever holds this one.
            this.inner.set(None);
            Poll::Ready(result)
        };
        let result = match this.account {
            Some(account) => ready!(account.tally.measure(poll)),
            None => ready!(poll()),
        };
        let account = this.account.take();
        Poll::Ready(result.map(|response| give_out(response, account)))
    }
}

/// Books the head of a response: the server gets a copy that it pays for, and the request frees its own.
fn give_out<B, S: Sink>(
    response: Response<B>,
    account: Option<Arc<Account<S>>>,
) -> Response<ResponseBody<B, S>> {
    let (mut head, body) = response.into_parts();
    if let Some(account) = &account {
        let (headers, extensions) = (copy_of(&head.headers), head.extensions.clone());
        let own = (mem::replace(&mut head.headers, headers), mem::replace(&mut head.extensions, extensions));
        account.tally.measure(|| drop(own));
    }
    Response::from_parts(head, ResponseBody::new(body, account))
}
