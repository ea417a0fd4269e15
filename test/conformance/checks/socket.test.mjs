// Subscriptions over WebSocket: the graphql-ws client for graphql-transport-ws, and a bare socket for the close codes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { assertWatched, CSV, refresh, register, socketURL, startJob, WATCH } from './gatehouse.mjs';

let account;
let client;
let opened; // the socket that the client holds
const pongs = [];

before(async () => {
  account = await register();
  client = createClient({
    url: socketURL,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    connectionParams: { Authorization: `Bearer ${account.accessToken}` },
    onNonLazyError: error => assert.fail(String(error)),
    on: {
      connected: socket => (opened = socket),
      pong: (received, payload) => received && pongs.push(payload),
    },
  });
});
after(() => client.dispose());

async function collect(request, on = client) {
  const events = [];
  for await (const { data, errors } of on.iterate(request)) {
    assert.equal(errors, undefined, JSON.stringify(errors));
    events.push(data);
  }
  return events;
}

const watch = (id, after) => collect({ query: WATCH, variables: { id, after } }).then(all => all.map(data => data.jobEvents));

test('graphql-ws: a query is answered once', async () => {
  const [{ me }, ...more] = await collect({ query: '{ me { email } }' });
  assert.equal(me.email, account.email);
  assert.deepEqual(more, []);
});

test('graphql-ws: a mutation starts a job', async () => {
  const query = 'mutation ($input: ProcessCsvInput!) { processCsv(input: $input) { job { id } userErrors { code } } }';
  const [{ processCsv }] = await collect({ query, variables: { input: { text: CSV } } });
  assert.match(processCsv.job.id, /^job_/);
});

test('graphql-ws: jobEvents goes from a snapshot to the end of the job, then completes', async () => {
  const events = await watch(await startJob(account.accessToken, 1500));
  assert.equal(events[0].job.state, 'SCHEDULED');
  assertWatched(events);
});

test('graphql-ws: jobEvents with after gives what came later, each event once', async () => {
  const id = await startJob(account.accessToken, 1500);
  const [snapshot, ...news] = await watch(id);
  const [, ...replayed] = await watch(id, snapshot.sequence);
  assert.deepEqual(replayed.map(({ sequence }) => sequence), news.map(({ sequence }) => sequence));
  const [, ...rest] = await watch(id, news[0].sequence);
  assert.deepEqual(rest.map(({ sequence }) => sequence), news.slice(1).map(({ sequence }) => sequence));
});

test('graphql-ws: a job is watched on over a new socket after the old one broke', async () => {
  const id = await startJob(account.accessToken, 1500);
  const seen = [];
  let socket;
  const stubborn = createClient({
    url: socketURL,
    webSocketImpl: WebSocket,
    retryAttempts: 3,
    retryWait: async () => {},
    connectionParams: { Authorization: `Bearer ${account.accessToken}` },
    on: {
      connected: opened => (socket = opened),
    },
  });
  for await (const { data } of stubborn.iterate({ query: WATCH, variables: { id } })) {
    seen.push(data.jobEvents);
    if (seen.length === 1) socket.terminate();
  }
  await stubborn.dispose();
  assert.equal(seen.filter(({ type }) => type === 'SNAPSHOT').length, 2, JSON.stringify(seen));
  assertWatched(seen.slice(1));
});

test('graphql-ws: a stopped subscription leaves the others alone', async () => {
  const id = await startJob(account.accessToken, 1500);
  const watched = watch(id);
  const stopped = client.iterate({ query: WATCH, variables: { id } });
  await stopped.next();
  await stopped.return();
  assertWatched(await watched);
});

test('graphql-ws: a fresh token comes over the open socket and the stream goes on', async () => {
  const id = await startJob(account.accessToken, 1500);
  const events = client.iterate({ query: WATCH, variables: { id } });
  const first = await events.next();
  account = { ...account, ...(await refresh(account.refreshToken)) };
  opened.send(JSON.stringify({ type: 'ping', payload: { Authorization: `Bearer ${account.accessToken}` } }));
  const seen = [first.value.data.jobEvents];
  for await (const { data } of events) seen.push(data.jobEvents);
  assertWatched(seen);
  const answer = pongs.find(payload => payload?.authorized);
  assert.ok(Date.parse(answer?.expiresAt) > Date.now(), `pong said ${JSON.stringify(pongs)}`);
});

test('graphql-ws: a document that is not valid is an error of its own operation', async () => {
  await assert.rejects(collect({ query: '{ nothing }' }), ([error]) => {
    assert.equal(error.extensions.code, 'BAD_USER_INPUT');
    assert.ok(error.extensions.requestId);
    return true;
  });
});

test("graphql-ws: another owner's job is NOT_FOUND", async () => {
  const stranger = await register();
  const id = await startJob(stranger.accessToken);
  const { value } = await client.iterate({ query: WATCH, variables: { id } }).next();
  assert.equal(value.errors[0].extensions.code, 'NOT_FOUND', JSON.stringify(value));
});

/** Opens a bare socket, sends what steps say, waiting for an answer where one is `answered`, and gives the close code. */
async function closeCode(messages, protocol = 'graphql-transport-ws') {
  const socket = new WebSocket(socketURL, protocol);
  await once(socket, 'open');
  const closed = once(socket, 'close');
  for (const message of messages) socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  const [code] = await closed;
  return code;
}

const init = () => ({ type: 'connection_init', payload: { Authorization: `Bearer ${account.accessToken}` } });
const subscribe = (id = '1') => ({ id, type: 'subscribe', payload: { query: 'subscription { jobUpdates { id } }' } });

for (const [name, code, messages] of [
  ['a message that is not JSON', 4400, () => ['{']],
  ['a message without a type', 4400, () => [{ id: '1' }]],
  ['a message of an unknown type', 4400, () => [init(), { type: 'start', id: '1' }]],
  ['a subscribe without an id', 4400, () => [init(), { type: 'subscribe', payload: { query: '{ version }' } }]],
  ['a subscribe before connection_init', 4401, () => [subscribe()]],
  ['a token that is not ours', 4403, () => [{ type: 'connection_init', payload: { Authorization: 'Bearer forged' } }]],
  ['a fresh token that is not ours', 4403, () => [init(), { type: 'ping', payload: { Authorization: 'Bearer forged' } }]],
  ['no connection_init within 3 s', 4408, () => []],
  ['two live operations of one id', 4409, () => [init(), subscribe(), subscribe()]],
  ['a second connection_init', 4429, () => [init(), init()]],
]) {
  test(`graphql-transport-ws: ${name} closes with ${code}`, async () => assert.equal(await closeCode(messages()), code));
}

test('graphql-transport-ws: a revoked session closes with 4401 and says why', async () => {
  const leaver = await register();
  const socket = new WebSocket(socketURL, 'graphql-transport-ws');
  await once(socket, 'open');
  const closed = once(socket, 'close');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { Authorization: `Bearer ${leaver.accessToken}` } }));
  await once(socket, 'message');
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: 'mutation { logout { sessionId } }' } }));
  const [code, reason] = await closed;
  assert.equal(code, 4401);
  assert.notEqual(String(reason), '');
});
