// Apollo Client: automatic persisted queries, subscriptions over a split link, uploads.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ApolloClient, ApolloLink, gql, InMemoryCache } from '@apollo/client';
import { CombinedGraphQLErrors } from '@apollo/client/errors';
import { HttpLink } from '@apollo/client/link/http';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { assertWatched, bearer, csvFile, newcomer, register, socketURL, startJob, url, WATCH } from './gatehouse.mjs';

const sha256 = text => createHash('sha256').update(text).digest('hex');
const sent = []; // of every HTTP request: method, and whether the document went along
let account;
let token; // of who is signed in
const sockets = createClient({ url: socketURL, webSocketImpl: WebSocket, retryAttempts: 0, connectionParams: () => bearer(token) });
after(() => sockets.dispose());

/** A fetch that notes what Apollo has sent, and adds the header that a GET and a form need. */
function noted(input, init) {
  const document = new URL(input).searchParams.has('query') || String(init.body).includes('"query"');
  sent.push({ method: init.method, document });
  return fetch(input, { ...init, headers: { ...init.headers, ...bearer(token), 'Apollo-Require-Preflight': 'true' } });
}

function clientOver(http) {
  const link = ApolloLink.split(({ operationType }) => operationType === 'subscription', new GraphQLWsLink(sockets), http);
  return new ApolloClient({ cache: new InMemoryCache(), link });
}

const persisted = useGETForHashedQueries =>
  clientOver(new PersistedQueryLink({ sha256, useGETForHashedQueries }).concat(new HttpLink({ uri: url, fetch: noted })));

before(async () => {
  account = await register();
});

test('Apollo: login, then a query that knows who asks', async () => {
  const client = clientOver(new HttpLink({ uri: url, fetch: noted }));
  const { data } = await client.mutate({
    mutation: gql`mutation Login($input: LoginInput!) {
      login(input: $input) { outcome { ... on SessionTokens { accessToken } } userErrors { code } }
    }`,
    variables: { input: { email: account.email, password: account.password } },
  });
  token = data.login.outcome.accessToken;
  const answer = await client.query({ query: gql`query Me { me { id email } }` });
  assert.equal(answer.data.me.email, account.email);
});

test('Apollo: a refused login is data, not an error', async () => {
  const client = clientOver(new HttpLink({ uri: url, fetch: noted }));
  const { data } = await client.mutate({
    mutation: gql`mutation Login($input: LoginInput!) { login(input: $input) { outcome { __typename } userErrors { code } } }`,
    variables: { input: newcomer() },
  });
  assert.equal(data.login.outcome, null);
  assert.equal(data.login.userErrors[0].code, 'INVALID_CREDENTIALS');
});

for (const [how, get] of [['POST', false], ['GET', true]]) {
  test(`Apollo: a persisted query is sent in full once, then by its hash alone, by ${how}`, async () => {
    const unseen = gql(`query Unseen${how}${Date.now()} { me { id email } }`); // by this server
    sent.length = 0;
    for (let i = 0; i < 2; i++) {
      const { data } = await persisted(get).query({ query: unseen });
      assert.equal(data.me.email, account.email);
    }
    assert.deepEqual(sent, [
      { method: how, document: false },
      { method: 'POST', document: true },
      { method: how, document: false },
    ]);
  });
}

test('Apollo: a subscription goes over the split link until it completes', async () => {
  const id = await startJob(token, 500);
  const events = await new Promise((resolve, reject) => {
    const seen = [];
    persisted(false)
      .subscribe({ query: gql(WATCH), variables: { id } })
      .subscribe({
        next: ({ data, error }) => (error ? reject(error) : seen.push(data.jobEvents)),
        error: reject,
        complete: () => resolve(seen),
      });
  });
  assertWatched(events);
});

test('Apollo: a file is uploaded by apollo-upload-client and processed', async () => {
  const client = clientOver(new UploadHttpLink({ uri: url, fetch: noted }));
  const { data } = await client.mutate({
    mutation: gql`mutation Upload($input: ProcessCsvInput!) { processCsv(input: $input) { job { id } userErrors { code message } } }`,
    variables: { input: { file: csvFile(1000), hasHeader: true } },
  });
  assert.deepEqual(data.processCsv.userErrors, []);
  const events = [];
  for await (const answer of sockets.iterate({ query: WATCH, variables: { id: data.processCsv.job.id } })) events.push(answer.data.jobEvents);
  assertWatched(events, 1000);
});

test('Apollo: an error carries its code', async () => {
  const { error } = await persisted(false).query({
    query: gql`query Missing($id: ID!) { job(id: $id) { id } }`,
    variables: { id: 'job_00000000000000000000000000' },
    errorPolicy: 'all',
  });
  assert.ok(CombinedGraphQLErrors.is(error), String(error));
  assert.equal(error.errors[0].extensions.code, 'NOT_FOUND');
});
