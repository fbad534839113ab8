// What a run ends with: a few lines for people, then JSON for programs.

const MIB = 1024 * 1024;
const mib = (bytes) => `${(bytes / MIB).toFixed(1)} MiB`;
const rounded = (value, digits = 2) => (value === null ? null : Number(value.toFixed(digits)));

function read(data, metric, field) {
  const found = data.metrics[metric];
  return found && found.values[field] !== undefined ? found.values[field] : null;
}

/** The figures; null where a run did not measure one. The first four are the original lab's. */
export function figures(data) {
  return {
    total_requests: read(data, 'requests_total', 'count') || 0,
    avg_latency_ms: rounded(read(data, 'request_latency', 'avg')),
    p95_latency_ms: rounded(read(data, 'request_latency', 'p(95)')),
    error_rate: rounded(read(data, 'errors', 'rate'), 4),
    bytes_per_request: rounded(read(data, 'service_bytes_per_request', 'value'), 0),
    rss_bytes: read(data, 'service_rss_bytes', 'value'),
    usage_bytes: read(data, 'service_usage_bytes', 'value'),
    usage_peak_bytes: read(data, 'service_usage_bytes', 'max'),
    limit_bytes: read(data, 'service_limit_bytes', 'value'),
    growth_bytes: read(data, 'service_growth_bytes', 'value'),
    limit_reached_after_seconds: rounded(read(data, 'limit_reached_after_seconds', 'value'), 1),
    limit_reached_after_requests: read(data, 'limit_reached_after_requests', 'value'),
    away_seconds: rounded(read(data, 'service_away_seconds', 'value'), 1),
    outage_requests: read(data, 'outage_requests', 'count') || 0,
    // No request, no verdict: a run that ended in its setup has passed nothing.
    thresholds_passed: read(data, 'requests_total', 'count') > 0 && Object.values(data.metrics).every((metric) =>
      Object.values(metric.thresholds || {}).every((threshold) => threshold.ok)),
  };
}

function lines(name, f) {
  const out = [
    '', `${name}: ${f.total_requests} requests, errors ${(100 * (f.error_rate || 0)).toFixed(2)} %, `
      + `latency average ${f.avg_latency_ms} ms, p95 ${f.p95_latency_ms} ms`,
  ];
  if (f.usage_bytes !== null) {
    const limit = f.limit_bytes ? ` of ${mib(f.limit_bytes)}` : '';
    out.push(`  memory: ${mib(f.usage_bytes)} at the end, ${mib(f.usage_peak_bytes)} at most${limit}`);
  }
  if (f.bytes_per_request !== null) out.push(`  growth: ${f.bytes_per_request} bytes per request`);
  if (f.limit_reached_after_seconds !== null) {
    out.push(`  killed: after ${f.limit_reached_after_seconds} s and ${f.limit_reached_after_requests} requests; `
      + `${f.outage_requests} requests found nobody, none of them counts as an error`);
    out.push(f.away_seconds === null ? '  it did not come back' : `  back after at most ${f.away_seconds} s`);
  }
  out.push(`  thresholds: ${f.thresholds_passed ? 'passed' : 'FAILED'}`, '');
  return out.join('\n');
}

/** For `handleSummary`. With SUMMARY_JSON=PATH the JSON is also written there. */
export function summary(name, data) {
  const f = figures(data);
  const json = JSON.stringify({ summary: f }, null, 2);
  const out = { stdout: `${lines(name, f)}\n${json}\n` };
  if (__ENV.SUMMARY_JSON) out[__ENV.SUMMARY_JSON] = `${json}\n`;
  return out;
}
