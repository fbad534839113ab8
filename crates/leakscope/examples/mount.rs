//! A service of orders with a memory leak, and the instrument mounted on it.
//!
//! ```bash
//! cargo run --release --example mount                # the service on 127.0.0.1:9101, the instrument on 127.0.0.1:9100
//! curl -X POST 127.0.0.1:9100/debug/memory/baseline
//! for id in $(seq 1000); do curl -s 127.0.0.1:9101/orders -d "{\"id\": \"$id\", \"items\": [\"$(printf %2000d "$id")\"]}"; done
//! curl '127.0.0.1:9100/debug/memory/diff?by=stack&limit=1'
//! ```
//!
//! Arguments: `mount [INSTRUMENT [SERVICE [FOLDER]]]`, two addresses and where the flight recorder writes.

use std::{
    collections::HashMap,
    env, io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use leakscope::Leakscope;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

// The allocator, with its heap profiler on.
leakscope::jemalloc!();

#[tokio::main]
async fn main() -> io::Result<()> {
    let argument = |n: usize, usual: &str| env::args().nth(n).unwrap_or_else(|| usual.to_owned());

    let instrument = TcpListener::bind(argument(1, "127.0.0.1:9100")).await?;
    let listener = TcpListener::bind(argument(2, "127.0.0.1:9101")).await?;

    // Reports, diffs, trend, post-mortem and pprof, on a listener of their own.
    let leakscope = Leakscope::builder().record_in(argument(3, ".leakscope")).start();
    println!("instrument: http://{}/debug", instrument.local_addr()?);
    tokio::spawn(leakscope.clone().serve(instrument));

    let service = Router::new().route("/orders", post(place)).with_state(Shop::default());
    // What each request keeps.
    let service = service.layer(leakscope.layer());
    println!("service: http://{}/orders", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(asked_to_stop()).await?;
    // In good order: the next post-mortem will say so.
    leakscope.stop();
    Ok(())
}

/// Returns at ctrl-c, or at the SIGTERM with which Docker, Kubernetes and systemd stop a service.
async fn asked_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler can be installed");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Clients repeat an order whose answer got lost: each is placed once, and answered alike.
#[derive(Clone, Default)]
struct Shop {
    placed: Arc<Mutex<HashMap<String, Value>>>,
}

async fn place(State(shop): State<Shop>, body: Bytes) -> Result<String, (StatusCode, String)> {
    let order = parse(&body).map_err(|error| (StatusCode::BAD_REQUEST, format!("not an order: {error}")))?;
    let Some(id) = order["id"].as_str().map(str::to_owned) else {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "an order has an id".to_owned()));
    };
    Ok(if remember(&shop, id, order) { "placed" } else { "placed before" }.to_owned())
}

/// What the bug keeps is allocated here, by serde_json.
fn parse(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(body) // the growth site
}

/// The bug: it keeps whole orders, which nobody reads again, and for ever.
fn remember(shop: &Shop, id: String, order: Value) -> bool {
    shop.placed.lock().unwrap_or_else(PoisonError::into_inner).insert(id, order).is_none()
}
