// What the checks share: the server's addresses, accounts and jobs, by plain fetch.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

const base = new URL(process.env.BASE_URL ?? 'http://127.0.0.1:8080');

export const url = new URL('/graphql', base).href;
export const schemaURL = new URL('/schema.graphql', base).href;
export const socketURL = url.replace(/^http/, 'ws');

export const WATCH = `subscription Watch($id: ID!, $after: Int) {
  jobEvents(id: $id, after: $after) { sequence type job { id state result { __typename ... on CsvSummary { rows } } } }
}`;

/** Posts one operation and gives its result, errors and all. */
export async function send(query, variables = {}, token = undefined) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...bearer(token) },
    body: JSON.stringify({ query, variables }),
  });
  return response.json();
}

/** Posts one operation that must succeed and gives its data. */
export async function ask(query, variables, token) {
  const { data, errors } = await send(query, variables, token);
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

export function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const TOKENS = `outcome { __typename ... on SessionTokens { accessToken accessTokenExpiresAt refreshToken user { id email } } }
  userErrors { code field message }`;

/** What somebody types who is about to register. */
export function newcomer() {
  return { email: `ada+${randomUUID()}@example.com`, password: `violet-${randomUUID()}` };
}

/** Makes an account and gives its credentials, tokens and user. */
export async function register() {
  const input = newcomer();
  const { register } = await ask(`mutation ($input: RegisterInput!) { register(input: $input) { ${TOKENS} } }`, { input });
  assert.deepEqual(register.userErrors, []);
  return { ...input, ...register.outcome };
}

/** Exchanges a refresh token for fresh tokens. */
export async function refresh(refreshToken) {
  const { refreshSession } = await ask(
    `mutation ($input: RefreshSessionInput!) { refreshSession(input: $input) { ${TOKENS} } }`,
    { input: { refreshToken } },
  );
  assert.deepEqual(refreshSession.userErrors, []);
  return refreshSession.outcome;
}

/** Starts a job over three rows, at once or after a delay, and gives its id. */
export async function startJob(token, delayMs = 0) {
  const options = delayMs > 0 ? { runAt: new Date(Date.now() + delayMs).toISOString() } : undefined;
  const { processCsv } = await ask(
    'mutation ($input: ProcessCsvInput!) { processCsv(input: $input) { job { id } userErrors { message } } }',
    { input: { text: CSV, options } },
    token,
  );
  assert.deepEqual(processCsv.userErrors, []);
  return processCsv.job.id;
}

export const CSV = 'city,visitors\nVienna,1204\nLima,877\nOslo,\n';

/** A CSV of the given number of rows, as a file to upload. */
export function csvFile(rows) {
  const lines = Array.from({ length: rows }, (_, i) => `${i},${i * i}\n`);
  return new File([`n,square\n${lines.join('')}`], 'squares.csv', { type: 'text/csv' });
}

/** Checks the events of a job from a first snapshot to its end: numbers rise, and the last says SUCCEEDED with the result. */
export function assertWatched(events, rows = 3) {
  const shown = JSON.stringify(events);
  assert.ok(events.length > 0, 'no event came');
  assert.equal(events[0].type, 'SNAPSHOT', shown);
  for (let i = 2; i < events.length; i++) assert.ok(events[i].sequence > events[i - 1].sequence, shown);
  const { state, result } = events.at(-1).job;
  assert.deepEqual([state, result?.__typename, result?.rows], ['SUCCEEDED', 'CsvSummary', rows], shown);
}
