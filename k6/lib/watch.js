// A VU of its own that looks at the service's memory once a second, beside the load.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Gauge } from 'k6/metrics';
import { memory, ready, started } from './service.js';

const rssBytes = new Gauge('service_rss_bytes');
const usageBytes = new Gauge('service_usage_bytes');
const limitBytes = new Gauge('service_limit_bytes');
const growthBytes = new Gauge('service_growth_bytes');
const perRequest = new Gauge('service_bytes_per_request');
const killedAfter = new Gauge('limit_reached_after_seconds');
const killedAt = new Gauge('limit_reached_after_requests');
const away = new Gauge('service_away_seconds');

/** The scenario to put beside the load's; `seconds` is how long that takes. */
export function watching(seconds) {
  return { executor: 'constant-vus', vus: 1, duration: `${seconds}s`, exec: 'watch', gracefulStop: '1s' };
}

const seconds = () => exec.instance.currentTestRunDuration / 1000;
// All iterations but the watcher's own are requests of the load.
const requests = (state) => exec.instance.iterationsCompleted - state.looks;

/**
 * A watcher that takes its baseline after `warmUp` seconds. `onReturn(state, now)` is called at each look after the
 * service has been killed and is back; `state.backAt` says since when.
 */
export function watcher({ warmUp = 0, onReturn = () => {} } = {}) {
  const state = { looks: 0, process: null, seenAt: 0, baseline: null, wentAt: null, backAt: null };
  return function watch() {
    look(state, warmUp);
    if (state.backAt !== null) onReturn(state, seconds());
    state.looks += 1;
    sleep(state.wentAt !== null && state.backAt === null ? 0.2 : 1);
  };
}

function look(state, warmUp) {
  if (state.wentAt !== null && state.backAt === null) {
    if (!ready()) return;
    back(state);
  }
  const process = started();
  const now = memory();
  if (now === null || process === null) {
    // One look that fails is not yet an end.
    if (state.wentAt === null && !ready()) gone(state, seconds());
    return;
  }
  // Killed and back between two looks.
  if (state.wentAt === null && state.process !== null && process !== state.process) {
    gone(state, state.seenAt);
    back(state);
  }
  state.process = process;
  state.seenAt = seconds();
  rssBytes.add(now.rss);
  usageBytes.add(now.usage);
  if (now.limit !== null) limitBytes.add(now.limit);
  // After a kill the figures are those of another process: what was measured of the first one stands.
  if (state.wentAt === null && seconds() >= warmUp) grow(state, now.rss);
}

function grow(state, rss) {
  if (state.baseline === null) state.baseline = { rss, requests: requests(state) };
  const grown = rss - state.baseline.rss;
  const sent = requests(state) - state.baseline.requests;
  growthBytes.add(grown);
  if (sent >= 100) perRequest.add(grown / sent);
}

function gone(state, at) {
  state.wentAt = at;
  killedAfter.add(at);
  killedAt.add(requests(state));
}

function back(state) {
  state.backAt = seconds();
  away.add(state.backAt - state.wentAt);
}
