//! The service over a real connection: what it does while it drains, and with clients that don't finish.

use std::{sync::Arc, time::Duration};

use leaklab::{app, config::Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::in_process::settings;

/// How long an effect may take before a test gives up; generous, since it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Serving {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    _data_dir: tempfile::TempDir,
}

async fn serving() -> Serving {
    serving_with_work(Duration::ZERO).await
}

async fn serving_with_work(work: Duration) -> Serving {
    let data_dir = tempfile::tempdir().expect("a temporary folder");
    let app =
        app::build(Settings { work, ..settings(data_dir.path()) }, true, leakscope::memory::limit(None));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let served = tokio::spawn(app::serve(Arc::clone(&app), listener, shutdown));
    Serving { address, stop, served, _data_dir: data_dir }
}

async fn send(address: std::net::SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

/// Reads until `text` has come.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            let more = stream.read_buf(&mut read).await.expect("readable");
            assert!(more > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&read));
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| panic!("no {text:?} within {PATIENCE:?}"));
    String::from_utf8_lossy(&read).into_owned()
}

const GET_READYZ: &str = "GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn while_draining_it_finishes_what_is_under_way_and_takes_nothing_new() {
    let service = serving().await;
    let mut idle = send(service.address, GET_READYZ).await;
    read_until(&mut idle, r#"{"status":"ready"}"#).await;

    // Under way: the server asks for the body only once the handler reads it.
    let mut under_way = send(
        service.address,
        "POST /admin/leaks/clear HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    read_until(&mut under_way, "100 Continue").await;
    service.stop.send(()).expect("it serves");
    assert_eq!(
        tokio::time::timeout(PATIENCE, idle.read(&mut [0; 16])).await.expect("in time").expect("readable"),
        0,
        "an idle connection is closed"
    );

    let mut late = send(service.address, GET_READYZ).await;
    let answer = read_until(&mut late, r#"{"status":"draining"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let mut late = send(service.address, "GET /api/data HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let answer = read_until(&mut late, r#""code":"draining""#).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");

    under_way.write_all(b"{}").await.expect("it reads on");
    read_until(&mut under_way, r#"{"cleared":"all""#).await;
    tokio::time::timeout(PATIENCE, service.served).await.expect("it stops").expect("whole").expect("served");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_service() {
    let service = serving().await;
    let mut endless = send(
        service.address,
        "POST /admin/leaks/clear HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    read_until(&mut endless, "100 Continue").await;
    service.stop.send(()).expect("it serves");
    tokio::time::timeout(PATIENCE, service.served).await.expect("it stops").expect("whole").expect("served");
}

#[tokio::test]
async fn a_body_that_stops_coming_gets_its_error_over_the_wire() {
    let service = serving().await;
    let mut slow = send(
        service.address,
        "POST /admin/leaks/cache HTTP/1.1\r\nhost: localhost\r\ncontent-length: 17\r\n\r\n{\"enabled\"",
    )
    .await;
    let answer = read_until(&mut slow, r#""code":"body_too_slow""#).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_has_said_all_it_will_say_still_gets_its_answer() {
    let service = serving_with_work(Duration::from_millis(100)).await;
    let mut client = send(service.address, "GET /api/data HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    client.shutdown().await.expect("a TCP stream");
    let answer = read_until(&mut client, r#""duration_ms""#).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let service = serving().await;
    for nonsense in ["\u{1}\u{2}\u{3}\r\n\r\n", "GET\r\n\r\n", "GET /\u{7f}\u{7f} HTTP/1.1\r\n\r\n"] {
        let mut stream = send(service.address, nonsense).await;
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
}
