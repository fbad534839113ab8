// The service under load: where it is, and how it is asked.
import http from 'k6/http';

export const BASE_URL = (__ENV.BASE_URL || 'http://leaky-service:8080').replace(/\/$/, '');

// `kind` keeps what the script itself asks out of the thresholds for the load.
const ASIDE = { tags: { kind: 'aside' }, timeout: '5s' };
const LOAD = { tags: { kind: 'load' } };

/** One request of the load. */
export function request(path) {
  return http.get(`${BASE_URL}${path}`, LOAD);
}

/** The JSON answer of a GET aside from the load, or null. */
export function ask(path) {
  const answer = http.get(`${BASE_URL}${path}`, ASIDE);
  return answer.status === 200 ? answer.json() : null;
}

/** Whether the service takes requests: false from a kill until the next process is up. */
export function ready() {
  return http.get(`${BASE_URL}/readyz`, ASIDE).status === 200;
}

/** When the process started, in seconds since 1970, or null: in a container each one is pid 1, but none starts twice. */
export function started() {
  const answer = http.get(`${BASE_URL}/metrics`, ASIDE);
  const found = answer.status === 200 && /^process_start_time_seconds (\S+)/m.exec(answer.body);
  return found ? Number(found[1]) : null;
}

/** {rss, usage, limit} in bytes, or null where the service does not answer. */
export function memory() {
  const answer = ask('/admin/memory');
  if (answer === null) return null;
  const rss = answer.process.rss_bytes;
  // The kernel judges a cgroup by its own count, which leaves out pages shared with others; a watcher judges by RSS.
  const byKernel = answer.limit.source.startsWith('cgroup');
  return { rss, usage: byKernel ? answer.cgroup.working_set_bytes : rss, limit: answer.limit.bytes };
}

/** For `setup`: the run ends here if there is no service. Returns the names of the leaks that are on. */
export function arrive() {
  if (ask('/health') === null) throw new Error(`${BASE_URL} does not answer: is the service up?`);
  const { leaks } = ask('/admin/leaks/status');
  const on = Object.keys(leaks).filter((name) => leaks[name].enabled);
  console.log(`${BASE_URL} answers; leaks on: ${on.join(', ') || 'none, so memory should stay flat'}`);
  return on;
}
