// A VU of its own that looks at the service's memory once a second, beside the load.
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Gauge } from 'k6/metrics';
import { memory, ready } from './service.js';

const rssBytes = new Gauge('service_rss_bytes');
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
 * A watcher that takes its baseline after `warmUp` seconds. `onReturn(state)` is called at each look after the service has
 * been killed and is back; `state.backAt` says since when.
 */
export function watcher({ warmUp = 0, onReturn = () => {} } = {}) {
  const state = { looks: 0, baseline: null, wentAt: null, backAt: null };
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
    state.backAt = seconds();
    away.add(state.backAt - state.wentAt);
  }
  const now = memory();
  if (now === null) {
    missed(state);
    return;
  }
  rssBytes.add(now.rss);
  if (now.limit !== null) limitBytes.add(now.limit);
  // After a kill the figures are those of another process: what was measured of the first one stands.
  if (state.wentAt !== null || seconds() < warmUp) return;
  if (state.baseline === null) state.baseline = { rss: now.rss, requests: requests(state) };
  const grown = now.rss - state.baseline.rss;
  const sent = requests(state) - state.baseline.requests;
  growthBytes.add(grown);
  if (sent >= 100) perRequest.add(grown / sent);
}

function missed(state) {
  // One look that fails is not yet an end.
  if (state.wentAt !== null || ready()) return;
  state.wentAt = seconds();
  killedAfter.add(state.wentAt);
  killedAt.add(requests(state));
}
