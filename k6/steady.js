// A steady load on both routes: the one that may leak and the one that never does. With every leak off, or its fix on,
// memory stays where it was after the warm-up: a threshold holds it to that.
//
//   BASE_URL, SUMMARY_JSON   as in memory-stress.js
//   RATE          requests per second, both routes together   50
//   DURATION      seconds; 3600 for the soak of an hour       120
//   WARM_UP       seconds before memory is judged             30
//   MAX_GROWTH    bytes that memory may grow by after that    4194304
import { ANSWERED, LATENCY, send } from './lib/load.js';
import { arrive } from './lib/service.js';
import { summary } from './lib/summary.js';
import { watcher, watching } from './lib/watch.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = Number(__ENV.DURATION || 120);
const MAX_GROWTH = Number(__ENV.MAX_GROWTH || 4194304);

function half(path) {
  return {
    executor: 'constant-arrival-rate',
    rate: RATE,
    // Each route gets every other request.
    timeUnit: '2s',
    duration: `${DURATION}s`,
    preAllocatedVUs: 10,
    maxVUs: 50,
    exec: path,
  };
}

export const options = {
  scenarios: { data: half('data'), echo: half('echo'), memory: watching(DURATION) },
  thresholds: {
    [LATENCY]: ['p(95)<500'],
    errors: ['rate<0.01'],
    service_growth_bytes: [`value<${MAX_GROWTH}`],
    outage_requests: ['count<1'],
  },
};

export function setup() {
  arrive();
}

export function data() {
  send('/api/data', ANSWERED);
}

export function echo() {
  send('/api/echo', { 'status is 200': (answer) => answer.status === 200 });
}

export const watch = watcher({ warmUp: Number(__ENV.WARM_UP || 30) });

export function handleSummary(result) {
  return summary('steady', result);
}
