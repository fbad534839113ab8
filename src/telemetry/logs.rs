//! Structured logs: text on a terminal, JSON otherwise, filtered by `RUST_LOG` (default `info`).
//!
//! A line that is written while a request is worked on carries the request's ids. The formats find them in the request's
//! span of `tracing`, which the middleware (`telemetry::http`) enters. That span is never written itself, and it is none of
//! those that `traces` exports. No value of `RUST_LOG` switches it off: where only warnings are shown, they have their ids.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use serde::ser::{SerializeMap, Serializer};
use tracing::{
    Event, Level, Span, Subscriber,
    field::{Field, Visit},
    info_span, warn,
};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{traces::RequestContext, variable};
use crate::config::LogFormat;

const DEFAULT_LEVEL: Level = Level::INFO;

/// Target of the requests' spans, and of nothing else.
const REQUEST: &str = "leaklab::request";

/// Sends the process's log to standard output. Call once.
pub fn init(format: LogFormat) {
    let terminal = io::stdout().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let (filter, bad) = filter(variable("RUST_LOG"));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stdout).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let set = if text {
        registry.with(layer.with_ansi(terminal).event_format(Text)).try_init()
    } else {
        registry.with(layer.event_format(Json)).try_init()
    };
    // A second call keeps the first one's choice.
    if set.is_ok()
        && let Some(error) = bad
    {
        warn!(error, "RUST_LOG can't be used, so it is info; it wants something like info,leaklab=debug");
    }
}

/// The filter by the text of `RUST_LOG`, and what was wrong with that text if it can't be used.
fn filter(text: Option<String>) -> (Targets, Option<String>) {
    let usual = Targets::new().with_default(DEFAULT_LEVEL);
    let (filter, bad) = match text {
        None => (usual, None),
        Some(text) => match text.parse() {
            Ok(filter) => (filter, None),
            Err(error) => (usual, Some(format!("{text:?}: {error}"))),
        },
    };
    (filter.with_target(REQUEST, Level::INFO), bad)
}

/// A request's span. What is logged while it is entered carries the request's ids.
pub(super) fn request_span(request: &RequestContext) -> Span {
    let span = info_span!(target: REQUEST, parent: None, "request");
    span.with_subscriber(|(id, subscriber)| {
        // Fields would be written out as text for each request. The context is there already, and costs a clone.
        let registry = subscriber.downcast_ref::<Registry>();
        if let Some(span) = registry.and_then(|registry| registry.span(id)) {
            span.extensions_mut().insert(request.clone());
        }
    });
    span
}

/// The request that an event belongs to: that of the innermost span that has one.
fn request<S, N>(ctx: &FmtContext<'_, S, N>) -> Option<RequestContext>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    ctx.event_scope()?.find_map(|span| span.extensions().get().cloned())
}

/// One line of text: time, level, target, message, the event's fields, the ids. Spans are left out.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let style = |escape| if writer.has_ansi_escapes() { escape } else { "" };
        let (dim, color, plain) = (style("\x1b[2m"), style(color(level)), style("\x1b[0m"));
        writer.write_str(dim)?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "{plain} {color}{level:>5}{plain} {dim}{target}:{plain} ")?;
        ctx.format_fields(writer.by_ref(), event)?;
        if let Some(request) = request(ctx) {
            write!(writer, " trace_id={} request_id={}", request.trace_id(), request.request_id())?;
        }
        writeln!(writer)
    }
}

/// The escape sequence for a level's color on a terminal.
fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// One flat JSON object a line: `timestamp` (RFC 3339), `level`, `target`, `message`, the event's fields, the ids.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(256);
        write_json(&mut line, event, request(ctx)).map_err(|_| fmt::Error)?;
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

fn write_json(
    line: &mut Vec<u8>,
    event: &Event<'_>,
    request: Option<RequestContext>,
) -> serde_json::Result<()> {
    let mut timestamp = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut serializer = serde_json::Serializer::new(line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &timestamp)?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    map.serialize_entry("target", event.metadata().target())?;
    let mut fields = Fields { map, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    let mut map = fields.map;
    if let Some(request) = request {
        map.serialize_entry("trace_id", request.trace_id())?;
        map.serialize_entry("request_id", request.request_id())?;
    }
    map.end()
}

/// Writes an event's fields as entries of a map; keeps the first error.
struct Fields<M: SerializeMap> {
    map: M,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<M> {
    fn entry(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.result.is_ok() {
            self.result = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.entry(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.entry(field, &format_args!("{value:?}"));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::HeaderMap;
    use serde_json::Value;
    use tracing::{error, info};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Captured {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Captured {
        /// Logs in JSON to here.
        pub fn json(&self) -> impl Subscriber + Send + Sync + use<> {
            let layer = tracing_subscriber::fmt::layer().with_writer(self.clone()).event_format(Json);
            tracing_subscriber::registry().with(layer)
        }

        pub fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().expect("no panic").clone();
            String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
        }

        /// The lines as JSON.
        pub fn objects(&self) -> Vec<Value> {
            self.lines().iter().map(|line| serde_json::from_str(line).expect(line)).collect()
        }
    }

    fn fresh() -> RequestContext {
        RequestContext::untraced(&HeaderMap::new())
    }

    /// One line outside a request, one inside; and the request.
    fn log_twice() -> RequestContext {
        let request = fresh();
        info!(address = %"127.0.0.1:8080", tries = 3_u64, "listening on \"everything\"\nreally");
        request_span(&request).in_scope(|| info!("inside"));
        request
    }

    #[test]
    fn json_lines_are_flat_objects_with_the_ids_of_the_request() {
        let captured = Captured::default();
        let request = tracing::subscriber::with_default(captured.json(), log_twice);
        let lines = captured.objects();
        let [outside, inside] = &lines[..] else { panic!("{lines:#?}") };
        assert_eq!(outside["message"], "listening on \"everything\"\nreally");
        assert_eq!(outside["address"], "127.0.0.1:8080");
        assert_eq!(outside["tries"], 3);
        assert_eq!(outside["level"], "INFO");
        assert_eq!(outside["trace_id"], Value::Null);
        let timestamp = outside["timestamp"].as_str().expect("text");
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp} is no RFC 3339 time");
        assert_eq!(inside["trace_id"], request.trace_id());
        assert_eq!(inside["request_id"], request.request_id());
        let keys: Vec<_> = inside.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["timestamp", "level", "target", "message", "trace_id", "request_id"]);
    }

    #[test]
    fn text_lines_carry_the_ids_too() {
        for ansi in [false, true] {
            let captured = Captured::default();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(captured.clone())
                .with_ansi(ansi)
                .event_format(Text);
            let request =
                tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_twice);
            let lines = captured.lines();
            let (trace_id, request_id) = (request.trace_id(), request.request_id());
            let plain =
                format!("  INFO {}: inside trace_id={trace_id} request_id={request_id}", module_path!());
            let last = lines.last().expect("a line");
            assert_eq!(last.ends_with(&plain), !ansi, "{lines:#?}");
            assert_eq!(last.contains("\u{1b}[32m INFO\u{1b}[0m"), ansi, "{lines:#?}");
            assert!(
                last.ends_with(&format!("inside trace_id={trace_id} request_id={request_id}")),
                "{lines:#?}"
            );
            assert!(!lines[0].contains("trace_id"), "{lines:#?}");
        }
    }

    #[test]
    fn the_ids_are_those_of_the_innermost_request_whatever_spans_there_are() {
        let captured = Captured::default();
        let [outer, inner] = [fresh(), fresh()];
        tracing::subscriber::with_default(captured.json(), || {
            request_span(&outer).in_scope(|| {
                request_span(&inner).in_scope(|| {
                    info_span!("of a library", trace_id = "its own").in_scope(|| info!("inner"))
                });
                info!("outer");
            });
            info!("outside");
        });
        let ids: Vec<_> = captured.objects().iter().map(|line| line["request_id"].clone()).collect();
        assert_eq!(ids, [inner.request_id().into(), outer.request_id().into(), Value::Null]);
    }

    #[test]
    fn lines_keep_their_ids_whatever_the_filter() {
        for text in ["warn", "off,leaklab::telemetry=error", "leaklab::request=off,error"] {
            let captured = Captured::default();
            let (filter, bad) = filter(Some(text.to_owned()));
            assert_eq!(bad, None);
            let request = fresh();
            tracing::subscriber::with_default(captured.json().with(filter), || {
                request_span(&request).in_scope(|| {
                    info!("not shown");
                    error!("shown");
                });
            });
            let lines = captured.objects();
            assert_eq!(lines.len(), 1, "{text}: {lines:#?}");
            assert_eq!(lines[0]["request_id"], request.request_id(), "{text}");
        }
    }
}
