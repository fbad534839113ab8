//! Samples -> slope, bytes per request, confidence, time to limit: pure functions.
