// 50 requests a second for five minutes. With a leak on, the service may meet its memory limit and be killed: that is
// this lab's intended ending, and the thresholds don't call it a failure. 15 s after the service is back the run ends
// itself (k6 then exits with 108); the summary tells when the limit came and what each request left behind.
//
//   BASE_URL      the service                            http://leaky-service:8080
//   RATE          requests per second                    50
//   DURATION      seconds                                300
//   RUN_ON=1      go on after a kill
//   SUMMARY_JSON  also write the summary to this file
import exec from 'k6/execution';
import { ANSWERED, LATENCY, send } from './lib/load.js';
import { arrive, ask } from './lib/service.js';
import { summary } from './lib/summary.js';
import { watcher, watching } from './lib/watch.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = Number(__ENV.DURATION || 300);
const CALM_SECONDS = 15;

export const options = {
  scenarios: {
    memory_stress: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 10,
      maxVUs: 50,
    },
    memory: watching(DURATION),
  },
  thresholds: { [LATENCY]: ['p(95)<500'], errors: ['rate<0.01'] },
};

export function setup() {
  arrive();
}

export default function () {
  send('/api/data', ANSWERED);
}

export const watch = watcher({
  onReturn(state, now) {
    if (__ENV.RUN_ON || now - state.backAt < CALM_SECONDS) return;
    exec.test.abort('The service met its memory limit, was killed and is back: the expected ending of this lab.');
  },
});

export function teardown() {
  console.log(`leaks: ${JSON.stringify(ask('/admin/leaks/status'))}`);
  console.log(`memory: ${JSON.stringify(ask('/admin/memory'))}`);
}

export function handleSummary(data) {
  return summary('memory-stress', data);
}
