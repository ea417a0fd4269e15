// Subscriptions over server-sent events, by graphql-sse in its distinct connections mode.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient } from 'graphql-sse';
import { assertWatched, bearer, register, startJob, url, WATCH } from './gatehouse.mjs';

let account;
let client;

before(async () => {
  account = await register();
  client = createClient({ url, retryAttempts: 0, headers: bearer(account.accessToken) });
});
after(() => client.dispose());

async function collect(request, on = client) {
  const results = [];
  for await (const result of on.iterate(request)) results.push(result);
  return results;
}

test('graphql-sse: a query is answered once', async () => {
  assert.deepEqual(await collect({ query: '{ me { email } }' }), [{ data: { me: { email: account.email } } }]);
});

test('graphql-sse: jobEvents goes from a snapshot to the end of the job, then completes', async () => {
  const id = await startJob(account.accessToken, 500);
  const results = await collect({ query: WATCH, variables: { id } });
  assertWatched(results.map(({ data }) => data.jobEvents));
});

test('graphql-sse: jobEvents with after gives what came later', async () => {
  const id = await startJob(account.accessToken, 500);
  const all = (await collect({ query: WATCH, variables: { id } })).map(({ data }) => data.jobEvents.sequence);
  const rest = (await collect({ query: WATCH, variables: { id, after: all[1] } })).map(({ data }) => data.jobEvents.sequence);
  assert.deepEqual(rest.slice(1), all.slice(2));
});

test('graphql-sse: a document that is not valid is answered with its errors', async () => {
  const [{ errors }] = await collect({ query: '{ nothing }' });
  assert.equal(errors[0].extensions.code, 'BAD_USER_INPUT');
});

test('graphql-sse: a token that is not ours is refused', async () => {
  const stranger = createClient({ url, retryAttempts: 0, headers: bearer('forged') });
  await assert.rejects(collect({ query: '{ version }' }, stranger), ({ response }) => response.status === 401);
});
