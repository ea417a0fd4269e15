// Signs people in through a real OpenID provider (test/peers/oidc-provider) from a page of an app's own origin: the
// provider's answer comes to the page or to the server, tokens are kept by the page or as cookies, and the person goes
// through with it or cancels.
//
//   SERVER=127.0.0.1:41234 node oauth.mjs
//
// SERVER is where a server listens whose public address is http://localhost:8080, whose allowed origin is
// http://localhost:3000, and which knows the provider as "peer", with the pages below. The browser finds both under
// these names, whatever their ports. It fails when somebody else is signed in at the end, or nobody; when a token
// stands in any address or referrer; and when the page keeps what opens the account in its address.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { expect, finish, launch, open, step } from './chromium.mjs';

const server = process.env.SERVER ?? '127.0.0.1:8080';
const PUBLIC_URL = 'http://localhost:8080';
const APP = 'http://localhost:3000';
const files = {
  '/app.js': ['text/javascript', readFileSync(new URL('app/app.js', import.meta.url))],
  '/': ['text/html; charset=utf-8', readFileSync(new URL('app/index.html', import.meta.url))],
};
files['/from-provider'] = files['/signed-in'] = files['/'];

const app = createServer((request, response) => {
  const [type, content] = files[new URL(request.url, APP).pathname] ?? [];
  response.writeHead(type ? 200 : 404, {
    'Content-Type': type ?? 'text/plain',
    'Content-Security-Policy': `default-src 'none'; script-src 'self'; connect-src ${PUBLIC_URL}; base-uri 'none'`,
  });
  response.end(content);
});
await new Promise(listening => app.listen(0, '127.0.0.1', listening));
const browser = await launch(`--host-resolver-rules=MAP localhost:8080 ${server},MAP localhost:3000 127.0.0.1:${app.address().port}`);

/** One visit of the app, and all that its browser has asked for. */
class Visit {
  addresses = []; // of every request, redirects included, and their referrers
  tokens = new Set(); // that stood in answers of the server
  #answers = [];

  static async to(address) {
    const visit = new Visit();
    visit.context = await open(browser);
    visit.page = await visit.context.newPage();
    visit.context.on('request', request => visit.addresses.push(request.url(), request.headers().referer ?? ''));
    visit.context.on('response', response => visit.#answers.push(visit.#read(response)));
    visit.page.on('framenavigated', frame => visit.addresses.push(frame.url()));
    await visit.page.goto(address);
    return visit;
  }

  async #read(response) {
    if (!response.url().startsWith(`${PUBLIC_URL}/graphql`)) return;
    const text = await response.text().catch(() => ''); // a preflight has none
    for (const [, token] of text.matchAll(/"(?:accessToken|refreshToken)":"([^"]+)"/g)) this.tokens.add(token);
  }

  /** Waits for what the page says at last, and for the answers that led to it. */
  async ends(text) {
    await this.page.locator('output').getByText(text, { exact: true }).waitFor();
    await Promise.all(this.#answers);
    expect(new URL(this.page.url()).search === '', 'the page keeps its parameters', this.page.url());
    const callback = this.addresses.some(address => address.startsWith(`${PUBLIC_URL}/oauth/callback/peer?`));
    const page = this.addresses.some(address => address.startsWith(`${APP}/from-provider?`));
    expect(callback !== page, 'the answer came to neither or to both', { callback, page });
  }

  leaksNothing(kept) {
    for (const address of this.addresses) {
      const told = [...this.tokens, ...kept].some(token => address.includes(token));
      expect(!told && !/eyJ[\w-]+\.|ghr_|(access|refresh|id)_token/.test(address), 'a token stands in an address', address);
    }
  }
}

await finish(browser, [], async () => {
  for (const mode of ['bearer', 'cookie']) {
    for (const answer of ['page', 'server']) {
      await step(`${mode}, the answer comes to the ${answer}`, () => signIn(mode, answer));
      await step(`${mode}, the answer comes to the ${answer}: cancelled`, () => cancel(mode, answer));
    }
  }
});
app.close();

async function signIn(mode, answer) {
  const visit = await begin(mode, answer);
  await visit.page.getByRole('button', { name: 'Sign in' }).click();
  await visit.ends('Signed in as alice@example.test');
  const expected = mode === 'cookie' ? { told: 0, kept: ['__Host-gh_access', '__Host-gh_refresh'] } : { told: 2, kept: [] };
  expect(visit.tokens.size === expected.told, 'the answers hold another number of tokens', [mode, visit.tokens.size]);
  const cookies = (await visit.context.cookies(PUBLIC_URL)).filter(({ name }) => name !== '__Host-gh_oauth');
  const kept = cookies.filter(({ name }) => name.startsWith('__Host-gh_'));
  expect(kept.map(({ name }) => name).sort().join() === expected.kept.join(), 'other cookies were set', kept.map(({ name }) => name));
  expect(kept.every(({ httpOnly, secure, sameSite }) => httpOnly && secure && sameSite === 'Lax'), 'a cookie is open', kept);
  visit.leaksNothing(kept.map(({ value }) => value));
}

async function cancel(mode, answer) {
  const visit = await begin(mode, answer);
  await visit.page.getByRole('button', { name: 'Cancel' }).click();
  await visit.ends('Not signed in: OAUTH_DENIED');
  const kept = (await visit.context.cookies(PUBLIC_URL)).map(({ name }) => name).filter(name => /access|refresh/.test(name));
  expect(visit.tokens.size === 0 && kept.length === 0, 'who cancelled is signed in', kept);
  visit.leaksNothing([]);
}

/** Opens the app in a browser that knows nobody, and goes to the provider. */
async function begin(mode, answer) {
  const visit = await Visit.to(APP);
  await visit.page.getByLabel('Tokens are kept by').selectOption(mode);
  await visit.page.getByLabel('The provider answers to').selectOption(answer);
  await visit.page.getByRole('button', { name: 'Sign in with The Peer' }).click();
  await visit.page.getByRole('button', { name: 'Cancel' }).waitFor();
  return visit;
}
