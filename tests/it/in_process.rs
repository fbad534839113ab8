//! The service in the test's own process: asked directly, without a network.

use std::{path::Path, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use hyper::service::Service as _;
use leaklab::{
    app::{self, App},
    config::{LogFormat, Settings},
    telemetry,
};
use leakscope::memory::{Limit, LimitSource, limit};
use serde_json::Value;

pub const NO_LIMIT: Limit = Limit { bytes: None, source: LimitSource::None };

/// The service without simulated work, under `--no-limit`.
pub struct Service {
    pub app: Arc<App>,
    service: telemetry::http::Service,
    pub data_dir: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null where the text is not JSON.
    pub json: Value,
}

pub fn settings(data_dir: &Path) -> Settings {
    Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        limit_bytes: 256 << 20,
        work: std::time::Duration::ZERO,
        data_dir: data_dir.to_owned(),
        leaks: Vec::new(),
        allowed_hosts: vec!["lab.example".into()],
        log_format: LogFormat::Auto,
    }
}

impl Service {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut App)) -> Self {
        Self::within(tempfile::tempdir().expect("a temporary folder"), change, limit(None))
    }

    /// Stops it in good order and starts another with the same data folder.
    pub fn restarted(self) -> Self {
        self.app.leakscope.stop();
        Self::within(self.data_dir, |_| {}, limit(None))
    }

    fn within(data_dir: tempfile::TempDir, change: impl FnOnce(&mut App), limit: Limit) -> Self {
        let mut app = app::build(settings(data_dir.path()), true, limit);
        change(Arc::get_mut(&mut app).expect("nobody else has it yet"));
        Self { service: app::service(&app), app, data_dir }
    }

    /// With no limit at all, and not told to leak without one.
    pub fn unlimited() -> Self {
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        Self::within(data_dir, |app| app.no_limit = false, NO_LIMIT)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], Body::empty()).await
    }

    /// As plain `curl -d` sends it.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.ask(Method::POST, path, &[form], body.to_owned().into()).await
    }

    /// GET that is answered with 200.
    #[track_caller]
    pub fn ok<'a>(&'a self, path: &'a str) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.get(path).await;
            assert_eq!(answer.status, StatusCode::OK, "GET {path} from {caller}: {}", answer.text);
            answer.json
        }
    }

    /// POST that is answered with 200.
    #[track_caller]
    pub fn posted<'a>(&'a self, path: &'a str, body: &'a str) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.post(path, body).await;
            assert_eq!(answer.status, StatusCode::OK, "POST {path} from {caller}: {}", answer.text);
            answer.json
        }
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let response = self.service.call(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(Body::new(body), usize::MAX).await.expect("a whole body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, text, json }
    }
}

/// Asserts that `object` has exactly these fields, in any order.
#[track_caller]
pub fn assert_fields(object: &Value, fields: &[&str]) {
    let mut has: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = fields.to_vec();
    has.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(has, wanted);
}
