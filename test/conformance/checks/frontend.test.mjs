// The frontend example: its types are generated from the server's schema, type-checked, and its urql client is run.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import WebSocket from 'ws';
import { assertWatched, csvFile, newcomer, refresh, schemaURL, startJob, url } from './gatehouse.mjs';

const packages = fileURLToPath(new URL('../', import.meta.url));
const example = fileURLToPath(new URL('../../../examples/frontend/', import.meta.url));
const copy = `${packages}.generated/frontend/`; // where the packages of this folder are found

function run(program, ...args) {
  try {
    return execFileSync(`${packages}node_modules/.bin/${program}`, args, {
      cwd: copy,
      env: { ...process.env, GATEHOUSE_SCHEMA: schemaURL },
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch ({ stdout, stderr }) {
    throw new Error(`${program} ${args.join(' ')}\n${stdout}${stderr}`);
  }
}

let gatehouse; // the example's modules, built
before(async () => {
  rmSync(copy, { recursive: true, force: true });
  cpSync(example, copy, { recursive: true, filter: path => !/node_modules|generated\/|build$/.test(path.slice(example.length)) });
  run('graphql-codegen', '--config', 'codegen.ts');
  run('tsc');
  const load = name => import(pathToFileURL(`${copy}build/${name}.js`).href);
  gatehouse = { ...(await load('gatehouse')), ...(await load('operations')), ...(await load('summarise')) };
});

test('codegen: the example pins the versions that are checked here', () => {
  const pins = folder => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
    return { ...dependencies, ...devDependencies };
  };
  const ours = pins(packages);
  for (const [name, version] of Object.entries(pins(example))) assert.equal(version, ours[name], name);
});

test('codegen: scalars have the types that the frontend is told', () => {
  const types = readFileSync(`${copy}src/generated/graphql.ts`, 'utf8');
  const wanted = { Time: 'createdAt: string', Long: 'rows: number', JSON: 'input: unknown', Upload: 'file?: File | null' };
  for (const [scalar, type] of Object.entries(wanted)) assert.ok(types.includes(type), `${scalar} is not found as ${type}`);
});

test('codegen: a field that was not asked for is a type error', () => {
  const wrong = `${copy}src/wrong.ts`;
  writeFileSync(wrong, `import type { MeQuery } from './generated/graphql.js';\nexport const wrong = (data: MeQuery) => data.me?.locale;\n`);
  try {
    assert.throws(() => run('tsc', '--noEmit'), /wrong\.ts.*'locale' does not exist/s);
  } finally {
    rmSync(wrong);
  }
});

/** Registers somebody and gives the example's client, signed in until the test ends, with what it typed and got. */
async function signedIn(t, options = {}) {
  const { Gatehouse, Register } = gatehouse;
  const house = new Gatehouse({ url, webSocketImpl: WebSocket, ...options });
  t.after(() => house.signOut());
  const input = newcomer();
  const { data, error } = await house.client.mutation(Register, { input }).toPromise();
  assert.equal(error, undefined);
  house.signIn(data.register.outcome);
  return { house, input, tokens: data.register.outcome };
}

async function whoAmI(house) {
  const { data, error } = await house.client.query(gatehouse.Me, {}, { requestPolicy: 'network-only' }).toPromise();
  assert.equal(error, undefined);
  return data.me?.email;
}

test('urql: register, log in, and a query that knows who asks', async t => {
  const { house, input } = await signedIn(t);
  house.signOut();
  assert.equal(await whoAmI(house), undefined);
  const { data } = await house.client.mutation(gatehouse.Login, { input }).toPromise();
  house.signIn(data.login.outcome);
  assert.equal(await whoAmI(house), input.email);
});

test('urql: a file is uploaded and its job watched to the end', async t => {
  const { house } = await signedIn(t);
  const fractions = [];
  const summary = await gatehouse.summarise(house, csvFile(20_000), fraction => fractions.push(fraction));
  assert.equal(summary.rows, 20_000);
  assert.deepEqual(summary.columns[1], { name: 'square', type: 'INTEGER', min: '0', max: String(19_999 ** 2) });
  assert.equal(fractions.at(-1), 1);
  const { data } = await house.client.query(gatehouse.MyJobs, { first: 1 }).toPromise();
  assert.deepEqual(data.jobs.nodes.map(({ kind, state }) => ({ kind, state })), [{ kind: 'processCsv', state: 'SUCCEEDED' }]);
});

test('urql: tokens are exchanged once, before they expire and when the server refuses them', async t => {
  const { house, input, tokens } = await signedIn(t);
  house.signIn({ ...tokens, accessTokenExpiresAt: new Date(0).toISOString() });
  assert.deepEqual(await Promise.all([whoAmI(house), whoAmI(house)]), [input.email, input.email]);

  house.signOut();
  const { data } = await house.client.mutation(gatehouse.Login, { input }).toPromise();
  house.signIn({ ...data.login.outcome, accessToken: 'forged' });
  assert.equal(await whoAmI(house), input.email);
});

test('urql: a fresh token goes over the open socket and the stream goes on', async t => {
  const said = [];
  class Noted extends WebSocket {
    send(text, ...rest) {
      said.push(JSON.parse(text));
      super.send(text, ...rest);
    }
  }
  const { house, tokens } = await signedIn(t, { webSocketImpl: Noted });
  const fresh = await refresh(tokens.refreshToken);
  const id = await startJob(tokens.accessToken, 1500);
  const events = [];
  await new Promise((resolve, reject) => {
    house.client.subscription(gatehouse.WatchJob, { id }).subscribe(({ data, error }) => {
      if (error) return reject(error);
      if (events.length === 0) house.signIn(fresh);
      events.push(data.jobEvents);
      if (data.jobEvents.job.state === 'SUCCEEDED') resolve();
    });
  });
  assertWatched(events);
  const pings = said.filter(({ type }) => type === 'ping');
  assert.deepEqual(pings.map(({ payload }) => payload), [{ Authorization: `Bearer ${fresh.accessToken}` }]);
});

test('urql: who holds a refresh token that was ended is signed out', async t => {
  let signedOut = 0;
  const { house, tokens } = await signedIn(t, { onSignedOut: () => signedOut++ });
  house.signIn({ ...tokens, accessToken: 'forged', refreshToken: 'forged' });
  await house.client.query(gatehouse.Me, {}, { requestPolicy: 'network-only' }).toPromise();
  assert.equal(signedOut, 1);
});
