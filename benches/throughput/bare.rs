//! What the service is measured against: an axum handler that gives the same answer, and nothing around it.

use std::{
    hint::black_box,
    time::{Instant, SystemTime},
};

use axum::{Json, Router, http::request::Parts, routing::get};
use leakscope::request::{Measured, RequestAccounting};
use serde::Serialize;
use uuid::Uuid;

#[derive(Serialize)]
struct Answer {
    service: &'static str,
    request_id: String,
    trace_id: String,
    duration_ms: f64,
    leaks_triggered: Vec<&'static str>,
    data: Data,
}

#[derive(Serialize)]
struct Data {
    message: &'static str,
    timestamp: String,
}

async fn data() -> Json<Answer> {
    let started = Instant::now();
    Json(Answer {
        service: "leaky-service",
        request_id: Uuid::new_v4().to_string(),
        trace_id: format!("{:032x}", fastrand::u128(1..)),
        leaks_triggered: Vec::new(),
        data: Data {
            message: "Here is your data",
            timestamp: humantime::format_rfc3339(SystemTime::now()).to_string(),
        },
        duration_ms: started.elapsed().as_secs_f64() * 1e3,
    })
}

/// The one route.
pub fn routes() -> Router {
    Router::new().route("/api/data", get(data))
}

/// The route with request accounting around it, whose figures go nowhere.
pub fn accounted_routes() -> Router {
    routes().layer(RequestAccounting::new(|_: &Parts| {
        |measured: Measured| {
            black_box(measured);
        }
    }))
}

/// Serves until killed; says where on standard output.
pub fn serve(routes: Router) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("bound"));
        axum::serve(listener, routes).await.expect("it serves");
    });
}
