// GraphQL over HTTP, by the audits of graphql-http.
import { test } from 'node:test';
import { serverAudits } from 'graphql-http';
import { url } from './gatehouse.mjs';

/** Adds the header by which the server knows that no foreign page made a browser send the request. */
function fetchFn(input, init = {}) {
  return fetch(input, { ...init, headers: { 'GraphQL-Require-Preflight': '1', ...init.headers } });
}

for (const audit of serverAudits({ url, fetchFn })) {
  test(`graphql-http ${audit.id}: ${audit.name}`, async () => {
    const result = await audit.fn();
    if (result.status !== 'ok') throw new Error(`${result.status}: ${result.reason}`);
  });
}
