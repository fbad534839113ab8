// One request of the load and its verdict. A request that fails because the service was just killed is no error of the
// service's code: it is counted apart, until /readyz answers again.
import { check, sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { ready, request } from './service.js';

export const errors = new Rate('errors');
export const requestLatency = new Trend('request_latency', true);
export const requestsTotal = new Counter('requests_total');
export const outageRequests = new Counter('outage_requests');

/** Judges answers that came. What did not come is judged by `errors`. */
export const LATENCY = 'http_req_duration{kind:load,expected_response:true}';

// Of this VU: each has its own.
let down = false;

/** Sends one request; `expected` maps a check's name to a predicate on the answer. */
export function send(path, expected) {
  if (down) {
    // Half a second, so that fifty VUs don't storm a service that is starting.
    sleep(0.5);
    down = !ready();
    if (down) {
      outageRequests.add(1);
      return;
    }
  }
  const answer = request(path);
  // Refused, cut off, or not ready yet: and is it really away?
  if ((answer.status === 0 || answer.status === 503) && !ready()) {
    down = true;
    outageRequests.add(1);
    return;
  }
  requestsTotal.add(1);
  requestLatency.add(answer.timings.duration);
  errors.add(!check(answer, expected));
}

/** The check of both routes: answered, and with its own id. */
export const ANSWERED = {
  'status is 200': (answer) => answer.status === 200,
  'has request_id': (answer) => answer.status === 200 && answer.json('request_id') !== undefined,
};
