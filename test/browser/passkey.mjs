// Walks through passkeys in a real browser with its virtual authenticator, as a page would use them.
//
//   BASE_URL=http://localhost:8080 node passkey.mjs
//
// It makes an account, registers a passkey, answers the challenge of a sign-in by password with it, signs in with it
// alone, and shows that a key without a PIN is one factor of two. It fails when the server or the
// browser does not do what it should.
import { randomUUID } from 'node:crypto';
import { chromium } from 'playwright-core';

const baseURL = process.env.BASE_URL ?? 'http://localhost:8080'; // passkeys do not work at an IP address
const email = `ada+${Date.now()}@example.com`;
const password = `violet-${randomUUID()}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
const page = await (await browser.newContext()).newPage();
const devtools = await page.context().newCDPSession(page);
await devtools.send('WebAuthn.enable');
const phone = await authenticator({ transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true });
await page.goto(`${baseURL}/explorer`);

const outcome = `outcome { __typename
  ... on SessionTokens { session { assurance } }
  ... on MfaChallenge { id methods passkeyOptions } } userErrors { code message }`;

try {
  const registered = await call('register', `outcome { __typename }`, { email, password });
  expect(registered.outcome?.__typename === 'SessionTokens', 'no account was made', registered);

  const finished = await register('This browser');
  expect(finished.factor?.name === 'This browser', 'the passkey was not registered', finished);
  expect(finished.recoveryCodes?.length === 10, 'there are no recovery codes', finished);
  await signOut();

  const challenge = (await call('login', outcome, { email, password })).outcome;
  expect(challenge?.methods?.includes('PASSKEY'), 'the sign-in does not ask for the passkey', challenge);
  const second = await call('verifyMfa', outcome, {
    challengeId: challenge.id,
    method: 'PASSKEY',
    passkeyResponse: await sign(challenge.passkeyOptions),
  });
  expect(second.outcome?.session?.assurance === 'aal2', 'the passkey is no second factor', second);
  await signOut();

  const alone = await signInAlone({});
  expect(alone.outcome?.session?.assurance === 'aal2', 'the passkey alone does not sign in', alone);
  await signOut();
  const named = await signInAlone({ email });
  expect(named.outcome?.session?.assurance === 'aal2', 'the passkey of an address does not sign in', named);

  await devtools.send('WebAuthn.removeVirtualAuthenticator', phone);
  await authenticator({ transport: 'usb', hasResidentKey: false, hasUserVerification: false });
  const key = await register('A key without a PIN');
  expect(key.factor && !key.recoveryCodes, 'the second passkey was not registered', key);
  await signOut();
  const half = (await signInAlone({ email })).outcome;
  expect(half?.methods?.includes('PASSWORD'), 'a passkey that does not know its user is two factors', half);
  const whole = await call('verifyMfa', outcome, { challengeId: half.id, method: 'PASSWORD', code: password });
  expect(whole.outcome?.session?.assurance === 'aal2', 'the password is no second factor beside it', whole);
  console.log('ok   passkeys');
} catch (error) {
  console.error(`FAIL ${error.stack}`);
  process.exitCode = 1;
}
await browser.close();

/** Plugs an authenticator in that answers at once. */
async function authenticator(options) {
  return devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', automaticPresenceSimulation: true, ...options },
  });
}

async function register(name) {
  const begun = await call('startPasskeyRegistration', `ceremonyId options`, {});
  const response = await page.evaluate(async options => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return (await navigator.credentials.create({ publicKey })).toJSON();
  }, begun.options);
  return call('finishPasskeyRegistration', `factor { kind name } recoveryCodes`, { ceremonyId: begun.ceremonyId, response, name });
}

/** Signs a challenge with whatever passkey the authenticator has for it. */
async function sign(options) {
  return page.evaluate(async options => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return (await navigator.credentials.get({ publicKey })).toJSON();
  }, options);
}

async function signInAlone(input) {
  const begun = await call('startPasskeyLogin', `ceremonyId options`, input);
  return call('finishPasskeyLogin', outcome, { ceremonyId: begun.ceremonyId, response: await sign(begun.options) });
}

async function signOut() {
  await send('mutation { logout { sessionId } }', {});
}

/** Runs a mutation of one input in cookie mode and gives its payload. */
async function call(mutation, fields, input) {
  const type = `${mutation[0].toUpperCase()}${mutation.slice(1)}Input`;
  const errors = fields.includes('userErrors') ? '' : 'userErrors { code message }';
  const data = await send(`mutation($input: ${type}!) { ${mutation}(input: $input) { ${fields} ${errors} } }`, { input });
  return data[mutation];
}

async function send(query, variables) {
  const answer = await page.evaluate(async body => {
    const headers = { 'Content-Type': 'application/json', 'Gatehouse-Session': 'cookie' };
    return (await fetch('/graphql', { method: 'POST', headers, body })).json();
  }, JSON.stringify({ query, variables }));
  expect(!answer.errors, 'the server refused', answer.errors);
  return answer.data;
}

function expect(holds, otherwise, seen) {
  if (!holds) throw new Error(`${otherwise}: ${JSON.stringify(seen)}`);
}
