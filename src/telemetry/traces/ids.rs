//! The ids of a request: made without an allocation, since every request has them.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use uuid::{Uuid, fmt::Hyphenated};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Request id and trace id as text.
pub(crate) struct Ids {
    request: [u8; Hyphenated::LENGTH],
    trace: [u8; 32],
}

impl Ids {
    /// A fresh request id within that trace.
    pub fn new(trace: TraceId) -> Self {
        let mut request = [0; Hyphenated::LENGTH];
        Uuid::new_v4().hyphenated().encode_lower(&mut request);
        Self { request, trace: hex(trace.to_bytes()) }
    }

    pub fn request(&self) -> &str {
        std::str::from_utf8(&self.request).expect("hex digits and hyphens")
    }

    pub fn trace(&self) -> &str {
        std::str::from_utf8(&self.trace).expect("hex digits")
    }
}

fn hex(bytes: [u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// A trace id for a request that is not traced: unique, and not worth a cryptographic generator.
pub(crate) fn fresh_trace_id() -> TraceId {
    TraceId::from(fastrand::u128(1..))
}

/// The caller's span by W3C Trace Context; `None` where the header is missing or malformed, which the standard treats alike.
pub(crate) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let (trace, span, flags) = parse_traceparent(headers.get(TRACEPARENT)?.to_str().ok()?)?;
    let state = headers.get(TRACESTATE).and_then(|state| TraceState::from_str(state.to_str().ok()?).ok());
    Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default()))
}

/// `version-traceid-parentid-flags` in lower-case hex. Stricter than the SDK's propagator, which also takes ids that are too short.
fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut fields = text.trim().split('-');
    let version = parse_hex::<2>(fields.next()?)?;
    let trace = TraceId::from(parse_hex::<32>(fields.next()?)?);
    let span = SpanId::from(parse_hex::<16>(fields.next()?)? as u64);
    let flags = TraceFlags::new(parse_hex::<2>(fields.next()?)? as u8) & TraceFlags::SAMPLED;
    // Later versions may append fields; version 0 has exactly four, and 255 is no version.
    let fits = version < 0xff && (version > 0 || fields.next().is_none());
    (fits && trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

/// Exactly `LENGTH` lower-case hex digits.
fn parse_hex<const LENGTH: usize>(text: &str) -> Option<u128> {
    let digits = text.len() == LENGTH && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        for (text, sampled) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), false),
            // Unknown flags are not ours to judge, nor are the fields of a later version.
            (format!("00-{TRACE}-00f067aa0ba902b7-09"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes"), true),
        ] {
            let (trace, span, flags) = parse_traceparent(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(trace.to_string(), TRACE);
            assert_eq!(span.to_string(), "00f067aa0ba902b7");
            assert_eq!(flags.is_sampled(), sampled, "{text}");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_no_traceparent() {
        for text in [
            "",
            "00",
            "00-1-1-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert!(parse_traceparent(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_written_as_users_know_them() {
        let ids = Ids::new(TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(ids.trace(), TRACE);
        let request = Uuid::parse_str(ids.request()).expect("a UUID");
        assert_eq!(request.get_version_num(), 4);
        assert_eq!(request.to_string(), ids.request());
    }
}
