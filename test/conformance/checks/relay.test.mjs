// What Relay expects of a server: refetching by node(id), and connections (Relay's GraphQL server specification).
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { ask, register, send, startJob } from './gatehouse.mjs';

let account;
let jobs; // the newest first

before(async () => {
  account = await register();
  jobs = [];
  for (let i = 0; i < 5; i++) jobs.unshift(await startJob(account.accessToken));
});

const sign = (query, variables) => ask(query, variables, account.accessToken);

test('node(id) gives every Node again by the id it has', async () => {
  const { me } = await sign('{ me { __typename id sessions { nodes { __typename id } } jobs { nodes { __typename id } } } }');
  const found = [me, ...me.sessions.nodes, ...me.jobs.nodes];
  assert.equal(found.length, 1 + 1 + jobs.length);
  for (const { __typename, id } of found) {
    const { node } = await sign('query ($id: ID!) { node(id: $id) { __typename id } }', { id });
    assert.deepEqual(node, { __typename, id });
  }
  const { nodes } = await sign('query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }', { ids: found.map(({ id }) => id) });
  assert.deepEqual(nodes, found.map(({ __typename, id }) => ({ __typename, id })));
});

test('a fragment is refetched through node(id)', async () => {
  const query = `query Refetch($id: ID!) { node(id: $id) { __typename id ...Row } }
    fragment Row on Job { kind state owner { id } }`;
  const { node } = await sign(query, { id: jobs[0] });
  assert.equal(node.__typename, 'Job');
  assert.equal(node.kind, 'processCsv');
  assert.equal(node.owner.id, account.user.id);
});

test("node(id) of nobody's and of another owner's object is the same NOT_FOUND", async () => {
  const stranger = await register();
  const refusal = async (id, token) => {
    const { data, errors } = await send('query ($id: ID!) { node(id: $id) { id } }', { id }, token);
    assert.deepEqual(data, { node: null });
    const { requestId, ...extensions } = errors[0].extensions;
    return { ...errors[0], extensions };
  };
  const owned = await refusal(jobs[0], stranger.accessToken);
  assert.equal(owned.extensions.code, 'NOT_FOUND');
  assert.deepEqual(await refusal(`${jobs[0].slice(0, -1)}${jobs[0].endsWith('0') ? '1' : '0'}`, stranger.accessToken), owned);
});

const PAGE = `query Page($first: Int, $after: String, $last: Int, $before: String) {
  jobs(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

/** Follows the cursors from one end to the other and gives the ids, page by page. */
async function walk(variablesAfter) {
  const pages = [];
  for (let variables = variablesAfter(null); variables; variables = variablesAfter(pages.at(-1))) {
    const { edges, pageInfo } = (await sign(PAGE, variables)).jobs;
    assert.equal(pageInfo.startCursor, edges[0].cursor);
    assert.equal(pageInfo.endCursor, edges.at(-1).cursor);
    pages.push({ ids: edges.map(({ node }) => node.id), pageInfo });
    assert.ok(pages.length <= jobs.length, 'the pages do not end');
  }
  return pages.map(({ ids }) => ids);
}

test('a connection is walked forwards by first and after', async () => {
  const pages = await walk(page => {
    if (!page) return { first: 2 };
    return page.pageInfo.hasNextPage ? { first: 2, after: page.pageInfo.endCursor } : null;
  });
  assert.deepEqual(pages, [jobs.slice(0, 2), jobs.slice(2, 4), jobs.slice(4)]);
});

test('a connection is walked backwards by last and before, each page in the same order', async () => {
  const pages = await walk(page => {
    if (!page) return { last: 2 };
    return page.pageInfo.hasPreviousPage ? { last: 2, before: page.pageInfo.startCursor } : null;
  });
  assert.deepEqual(pages, [jobs.slice(3), jobs.slice(1, 3), jobs.slice(0, 1)]);
});
