//! Request accounting: the layer says that it can measure nothing, and stays out of the way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use leakscope::request::{Measured, RequestAccounting, Unavailable, available};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn without_jemalloc_requests_pass_through() {
    assert_eq!(available(), Err(Unavailable::NotTheAllocator));

    let requests = Arc::new(AtomicU64::new(0));
    let accounting = RequestAccounting::new(|_: &http::request::Parts| -> fn(Measured) {
        panic!("nothing can be measured");
    });
    let accounting = accounting.counting(Arc::clone(&requests));
    let app = Router::new().route("/echo", post(|body: Bytes| async { Body::from(body) })).layer(accounting);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());

    let mut client = TcpStream::connect(address).await.unwrap();
    let request = "POST /echo HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("\r\n\r\nhello"), "{response}");
    assert_eq!(requests.load(Relaxed), 1, "it is counted all the same");
}
