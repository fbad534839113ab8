// Three bursts with rests between. Memory that a burst needs and gives back is no leak: it comes back to where it was.
// With a leak on, each burst leaves a step that stays.
//
//   BASE_URL, SUMMARY_JSON   as in memory-stress.js
//   PEAK          requests per second in a burst              200
//   MAX_GROWTH    bytes above the start allowed at the end    8388608
import { ANSWERED, LATENCY, send } from './lib/load.js';
import { arrive } from './lib/service.js';
import { summary } from './lib/summary.js';
import { watcher, watching } from './lib/watch.js';

const PEAK = Number(__ENV.PEAK || 200);
const REST = 5;
const MAX_GROWTH = Number(__ENV.MAX_GROWTH || 8388608);

const burst = [
  { target: PEAK, duration: '2s' },
  { target: PEAK, duration: '10s' },
  { target: REST, duration: '2s' },
  { target: REST, duration: '16s' },
];
const SECONDS = 10 + 3 * 30;

export const options = {
  scenarios: {
    bursts: {
      executor: 'ramping-arrival-rate',
      startRate: REST,
      timeUnit: '1s',
      preAllocatedVUs: 20,
      maxVUs: 100,
      stages: [{ target: REST, duration: '10s' }, ...burst, ...burst, ...burst],
    },
    memory: watching(SECONDS),
  },
  thresholds: {
    [LATENCY]: ['p(95)<1000'],
    errors: ['rate<0.01'],
    service_growth_bytes: [`value<${MAX_GROWTH}`],
    outage_requests: ['count<1'],
  },
};

export function setup() {
  arrive();
}

export default function () {
  send('/api/data', ANSWERED);
}

export const watch = watcher({ warmUp: 5 });

export function handleSummary(data) {
  return summary('burst', data);
}
