//! Accepts connections, bounds how long a client may take over its headers, and drains at the end.
//!
//! A handler may upgrade its connection, to a WebSocket for example. From then on the connection is the handler's: it is not waited
//! for at the end.

use std::{future::Future, io, pin::pin, time::Duration};

use axum::{BoxError, Router};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::HttpService};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

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
    let connections = Connections::new();
    tokio::select! {
        () = accept(listener, service, &connections) => {}
        () = stop => {}
    }
    let latecomers = Connections::new();
    tokio::select! {
        () = connections.end() => {}
        () = accept(listener, TowerToHyperService::new(draining), &latecomers) => {}
        () = tokio::time::sleep(DRAIN_PATIENCE) => {
            tracing::warn!("requests still under way after {DRAIN_PATIENCE:?} are cut off");
        }
    }
}

/// The open connections: each has a receiver until it ends or is upgraded.
struct Connections {
    ending: watch::Sender<()>,
}

impl Connections {
    fn new() -> Self {
        Self { ending: watch::Sender::new(()) }
    }

    /// Closes those that are idle, and returns when the others have answered what they were asked.
    async fn end(&self) {
        self.ending.send_replace(());
        self.ending.closed().await;
    }
}

/// Never returns.
async fn accept<S>(listener: &TcpListener, service: S, connections: &Connections)
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
        let connection = http.serve_connection(TokioIo::new(stream), service.clone()).with_upgrades();
        let mut ending = connections.ending.subscribe();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = ending.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::{
        extract::Request,
        http::{StatusCode, header},
        response::IntoResponse,
        routing::get,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
    };

    use super::*;

    /// Sends back whatever comes over the upgraded connection.
    async fn echo(mut request: Request) -> impl IntoResponse {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let connection = TokioIo::new(upgrade.await.expect("the answer said so"));
            let (mut from, mut to) = tokio::io::split(connection);
            tokio::io::copy(&mut from, &mut to).await
        });
        (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")])
    }

    #[tokio::test]
    async fn a_handler_gets_its_upgraded_connection_and_draining_does_not_wait_for_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let service = TowerToHyperService::new(Router::new().route("/", get(echo)));
            let stop = async { drop(stopped.await) };
            serve(&listener, service, Router::new(), stop).await;
        });
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        client.write_all(request.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("a whole head"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        let mut echoed = [0; 4];
        let mut say = async |words: &[u8; 4]| {
            client.write_all(words).await.expect("it reads");
            client.read_exact(&mut echoed).await.expect("an echo");
            assert_eq!(&echoed, words);
        };
        say(b"ping").await;

        let began = Instant::now();
        stop.send(()).expect("it serves");
        served.await.expect("it ends");
        assert!(began.elapsed() < DRAIN_PATIENCE, "it waited for a connection that is the handler's");
        say(b"pong").await;
    }
}
