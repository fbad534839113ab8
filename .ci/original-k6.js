// The load script of the lab that this one grew from, written after its contract. It asks nothing that the service did not
// have then, and a learner may bring it along: what runs with it must keep running.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

const errors = new Rate('errors');
const requestLatency = new Trend('request_latency');
const requestsTotal = new Counter('requests_total');

const BASE_URL = __ENV.BASE_URL || 'http://leaky-service:8080';

export const options = {
  scenarios: {
    memory_stress: {
      executor: 'constant-arrival-rate',
      rate: 50,
      timeUnit: '1s',
      duration: '5m',
      preAllocatedVUs: 10,
      maxVUs: 50,
    },
  },
  thresholds: { http_req_duration: ['p(95)<500'], errors: ['rate<0.01'] },
};

export function setup() {
  console.log(`health: ${JSON.stringify(http.get(`${BASE_URL}/health`).json())}`);
  console.log(`leaks: ${JSON.stringify(http.get(`${BASE_URL}/admin/leaks/status`).json())}`);
}

export default function () {
  const answer = http.get(`${BASE_URL}/api/data`);
  requestsTotal.add(1);
  requestLatency.add(answer.timings.duration);
  const good = check(answer, {
    'status is 200': (r) => r.status === 200,
    'has request_id': (r) => r.json('request_id') !== undefined,
  });
  errors.add(!good);
}

export function teardown() {
  console.log(`leaks: ${JSON.stringify(http.get(`${BASE_URL}/admin/leaks/status`).json())}`);
  console.log(`memory: ${JSON.stringify(http.get(`${BASE_URL}/admin/memory`).json())}`);
}

export function handleSummary(data) {
  const of = (metric, value) => data.metrics[metric].values[value];
  const summary = {
    total_requests: of('requests_total', 'count'),
    avg_latency_ms: of('request_latency', 'avg'),
    p95_latency_ms: of('request_latency', 'p(95)'),
    error_rate: of('errors', 'rate'),
  };
  return { stdout: JSON.stringify({ summary }, null, 2) };
}
