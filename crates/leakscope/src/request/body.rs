//! The two bodies of a measured request. Memory crosses the border of the account in both: here it is booked.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::account::Account;
use super::head::copy_of;
use super::{Sink, thread};

pin_project! {
    /// The body of a request, as the measured service gets it.
    ///
    /// The server made it, so neither reading nor dropping it counts. What is read from it counts as though the
    /// service had allocated it: its length when it is handed over, and again when the last reference to it is dropped.
    pub struct RequestBody<B> {
        #[pin]
        inner: Option<B>,
        measured: bool,
    }

    impl<B> PinnedDrop for RequestBody<B> {
        fn drop(this: Pin<&mut Self>) {
            thread::outside(|| this.project().inner.set(None));
        }
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, measured: bool) -> Self {
        Self { inner: Some(inner), measured }
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let measured = *this.measured;
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(thread::outside(|| inner.poll_frame(cx)));
        Poll::Ready(frame.map(|read| read.map(|frame| if measured { hand_over(frame) } else { frame })))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Books a frame that came in: from here on it is the service's.
fn hand_over(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) => {
            thread::count_allocated(data.len());
            Frame::data(Bytes::from_owner(Incoming(data)))
        }
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => {
                let copy = copy_of(&trailers);
                thread::outside(|| drop(trailers));
                Frame::trailers(copy)
            }
            Err(frame) => frame,
        },
    }
}

/// Data that came in: a slice of a buffer of the server's, which is no smaller for one reference less.
struct Incoming(Bytes);

impl AsRef<[u8]> for Incoming {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        thread::count_freed(self.0.len());
        thread::outside(|| drop(mem::take(&mut self.0)));
    }
}

pin_project! {
    /// The body of a measured response. The request is over when it has been dropped and the server has let go of all
    /// that it gave out.
    pub struct ResponseBody<B, S: Sink> {
        #[pin]
        inner: Option<B>,
        account: Option<Arc<Account<S>>>,
    }

    impl<B, S: Sink> PinnedDrop for ResponseBody<B, S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(account) = this.account {
                account.tally.measure(|| this.inner.set(None));
            }
        }
    }
}

impl<B, S: Sink> ResponseBody<B, S> {
    pub(super) fn new(inner: B, account: Option<Arc<Account<S>>>) -> Self {
        Self { inner: Some(inner), account }
    }
}

impl<B: Body<Data = Bytes>, S: Sink> Body for ResponseBody<B, S> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let Some(account) = this.account else { return inner.poll_frame(cx) };
        let frame = ready!(account.tally.measure(|| inner.poll_frame(cx)));
        Poll::Ready(frame.map(|made| made.map(|frame| give_out(frame, account))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Books a frame that goes out: the server drops it, later, and what that frees was the request's.
fn give_out<S: Sink>(frame: Frame<Bytes>, account: &Arc<Account<S>>) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) => Frame::data(Bytes::from_owner(Outgoing { data, account: Arc::clone(account) })),
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => {
                let copy = copy_of(&trailers);
                account.tally.measure(|| drop(trailers));
                Frame::trailers(copy)
            }
            Err(frame) => frame,
        },
    }
}

/// Data that goes out. Whether the last reference to it is dropped with this one, only the allocator's counters say:
/// it may be static, or the slice of a cache.
struct Outgoing<S: Sink> {
    data: Bytes,
    account: Arc<Account<S>>,
}

impl<S: Sink> AsRef<[u8]> for Outgoing<S> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl<S: Sink> Drop for Outgoing<S> {
    fn drop(&mut self) {
        self.account.tally.measure(|| drop(mem::take(&mut self.data)));
    }
}
