//! Structured logs: text on a terminal, JSON otherwise, filtered by `RUST_LOG` (default `info`).
//!
//! A line that is written while a request is worked on carries the request's ids. They come from the thread's current
//! request, not from a tracing span: nothing is paid for a request that logs nothing, and none does by default.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use serde::ser::{SerializeMap, Serializer};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    warn,
};
use tracing_subscriber::{
    field::RecordFields,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Writer},
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{traces, variable};
use crate::config::LogFormat;

const DEFAULT_LEVEL: Level = Level::INFO;

/// Sends the process's log to standard output. Call once.
pub fn init(format: LogFormat) {
    let terminal = io::stdout().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let (filter, bad) = filter();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stdout).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let set = if text {
        registry.with(layer.with_ansi(terminal).fmt_fields(WithIds(DefaultFields::new()))).try_init()
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

/// The filter, and what was wrong with `RUST_LOG` if it can't be used.
fn filter() -> (Targets, Option<String>) {
    let usual = || Targets::new().with_default(DEFAULT_LEVEL);
    let Some(text) = variable("RUST_LOG") else { return (usual(), None) };
    match text.parse() {
        Ok(filter) => (filter, None),
        Err(error) => (usual(), Some(format!("{text:?}: {error}"))),
    }
}

/// The default text fields, and the ids of the current request after them.
struct WithIds(DefaultFields);

impl<'writer> FormatFields<'writer> for WithIds {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        match traces::current() {
            Some(request) => {
                write!(writer, " trace_id={} request_id={}", request.trace_id(), request.request_id())
            }
            None => Ok(()),
        }
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
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(256);
        write_json(&mut line, event).map_err(|_| fmt::Error)?;
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

fn write_json(line: &mut Vec<u8>, event: &Event<'_>) -> serde_json::Result<()> {
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
    if let Some(request) = traces::current() {
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
    use tracing::info;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::telemetry::traces::RequestContext;

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
    }

    /// One line outside a request, one inside; and the request.
    fn log_twice() -> RequestContext {
        let request = RequestContext::untraced(&HeaderMap::new());
        info!(address = %"127.0.0.1:8080", tries = 3_u64, "listening on \"everything\"\nreally");
        let entered = request.enter();
        info!("inside");
        drop(entered);
        request
    }

    #[test]
    fn json_lines_are_flat_objects_with_the_ids_of_the_request() {
        let captured = Captured::default();
        let request = tracing::subscriber::with_default(captured.json(), log_twice);
        let lines: Vec<Value> =
            captured.lines().iter().map(|line| serde_json::from_str(line).expect(line)).collect();
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
    }

    #[test]
    fn text_lines_carry_the_ids_too() {
        let captured = Captured::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(captured.clone())
            .with_ansi(false)
            .fmt_fields(WithIds(DefaultFields::new()));
        let request =
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_twice);
        let lines = captured.lines();
        let inside = format!("inside trace_id={} request_id={}", request.trace_id(), request.request_id());
        assert!(lines.last().expect("a line").ends_with(&inside), "{lines:#?}");
        assert!(!lines[0].contains("trace_id"), "{lines:#?}");
    }
}
