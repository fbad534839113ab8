//! Accepts connections, bounds how long a client may take over its headers, and drains at the end.

use std::{future::Future, io, time::Duration};

use axum::{BoxError, Router};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::HttpService};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};

/// Time for a request's headers to arrive; an idle connection is closed after it too.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);

/// Time for requests under way to finish once the service is to stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a failed accept: mostly there are no file descriptors left, and a connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `service` until `stop`; then closes idle connections, lets requests under way finish within a bound, and answers
/// new connections with `draining` meanwhile.
pub async fn serve<S>(listener: &TcpListener, service: S, draining: Router, stop: impl Future<Output = ()>)
where
    S: HttpService<Incoming, ResBody: Body<Data: Send, Error: Into<BoxError>> + Send, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(listener, service, &connections) => {}
        () = stop => {}
    }
    let latecomers = GracefulShutdown::new();
    tokio::select! {
        () = connections.shutdown() => {}
        () = accept(listener, TowerToHyperService::new(draining), &latecomers) => {}
        () = tokio::time::sleep(DRAIN_PATIENCE) => {
            tracing::warn!("requests still under way after {DRAIN_PATIENCE:?} are cut off");
        }
    }
}

/// Never returns.
async fn accept<S>(listener: &TcpListener, service: S, connections: &GracefulShutdown)
where
    S: HttpService<Incoming, ResBody: Body<Data: Send, Error: Into<BoxError>> + Send, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    // Else hyper would read on while a request is answered, to learn whether the client is still there, and the buffer that it
    // would read into is another 8 KiB for each request, since the request's head still has the one before.
    http.half_close(true);
    loop {
        let stream = next(listener).await;
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection ended");
            }
        });
    }
}

async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if ended_early(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client's own doing, before it was even accepted.
fn ended_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
