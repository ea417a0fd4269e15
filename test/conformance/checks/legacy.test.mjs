// Subscriptions over the protocol that older mobile clients speak, by subscriptions-transport-ws.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';
import { assertWatched, register, socketURL, startJob, WATCH } from './gatehouse.mjs';

let account;
let client;

before(async () => {
  account = await register();
  client = new SubscriptionClient(socketURL, { connectionParams: { Authorization: `Bearer ${account.accessToken}` } }, WebSocket);
});
after(() => client.close());

function collect(request) {
  return new Promise((resolve, reject) => {
    const results = [];
    client.request(request).subscribe({ next: result => results.push(result), error: reject, complete: () => resolve(results) });
  });
}

test('subscriptions-transport-ws: a query is answered once', async () => {
  const results = await collect({ query: '{ me { email } }' });
  assert.deepEqual(results, [{ data: { me: { email: account.email } } }]);
});

test('subscriptions-transport-ws: jobEvents goes from a snapshot to the end of the job, then completes', async () => {
  const id = await startJob(account.accessToken, 500);
  const results = await collect({ query: WATCH, variables: { id } });
  assertWatched(results.map(({ data }) => data.jobEvents));
});

test('subscriptions-transport-ws: a document that is not valid is an error of its own operation', async () => {
  await assert.rejects(collect({ query: '{ nothing }' }), ({ extensions }) => extensions.code === 'BAD_USER_INPUT');
});

test('subscriptions-transport-ws: a token that is not ours is refused', async () => {
  const refused = await new Promise((resolve, reject) => {
    const stranger = new SubscriptionClient(
      socketURL,
      {
        connectionParams: { Authorization: 'Bearer forged' },
        connectionCallback: error => (stranger.close(), error ? resolve(error) : reject(new Error('it was let in'))),
      },
      WebSocket,
    );
  });
  assert.equal(refused.extensions.code, 'UNAUTHENTICATED', JSON.stringify(refused));
});
