// Puts one event after the other, and looks for each at every stage in turn, once a second until it is there.
// Run by `cargo bench --bench rate -- --k6 PATH`. Nothing is on that costs time and is not needed: bodies of
// answers, tags of samples, judgements of status codes.

import { sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const STUB = __ENV.STUB;
const STAGES = ['tenant_stream', 'archive', 'transit', 'bigquery'];
const EVENT = 'x'.repeat(Number(__ENV.SIZE));

const rate = Number(__ENV.RATE);
const vus = Number(__ENV.VUS);
const load = rate > 0
  ? { executor: 'constant-arrival-rate', rate, timeUnit: '1s', preAllocatedVUs: vus }
  : { executor: 'constant-vus', vus };

export const options = {
  scenarios: { events: { ...load, duration: `${__ENV.SECONDS}s`, gracefulStop: '10s' } },
  discardResponseBodies: true,
  systemTags: [],
  summaryTrendStats: ['med', 'p(99)'],
};
http.setResponseCallback(null);

// How much longer than in truth an event seems to take to the last stage, in milliseconds.
const error = new Trend('latency_error');

export default function () {
  const id = exec.scenario.iterationInTest;
  const began = Date.now();
  http.post(`${STUB}/events/${id}`, EVENT);
  let answer;
  for (const stage of STAGES) {
    while ((answer = http.get(`${STUB}/${stage}/${id}`)).status !== 200) {
      sleep(1);
    }
  }
  error.add(Date.now() - began - Number(answer.headers['Arrived-After-Ms']));
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data.metrics.latency_error?.values ?? {}) };
}
