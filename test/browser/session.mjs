// Shows that the explorer's bar and what it sends are true whatever becomes of its session: a challenge, a step-up, a
// suspension, an impersonation and the end of each.
//
//   BASE_URL=http://127.0.0.1:8080 ADMIN_EMAIL=… ADMIN_PASSWORD=… node session.mjs
//
// The administrator is one that `gatehouse admin create` has made, without a second factor. SCREENSHOT names a picture
// of an open challenge. It fails when a step does not come to its end within 30 s.
import { createHmac, randomUUID } from 'node:crypto';
import { expect, finish, launch, open, step } from './chromium.mjs';
import { Workbench } from './workbench.mjs';

const baseURL = process.env.BASE_URL ?? 'http://127.0.0.1:8080';
const admin = { email: process.env.ADMIN_EMAIL, password: process.env.ADMIN_PASSWORD };
const ada = { email: `ada+${Date.now()}@example.com`, password: `violet-${randomUUID()}` };
const NOBODY = 'Not signed in: run Register or LogIn';
const TOTP_STEP_MS = 30_000;
let usedStep = 0; // of Ada's authenticator app
let authorization; // of the newest request of the page that had one

const browser = await launch();
const context = await open(browser, { baseURL, viewport: { width: 1200, height: 850 } });
const page = await context.newPage();
const workbench = await Workbench.on(page);
page.on('request', request => {
  authorization = request.headers().authorization ?? authorization;
});
await page.addInitScript(makeDue);
await page.goto('/explorer');
const userAgent = await page.evaluate(() => navigator.userAgent);

await finish(browser, [], async () => {
  await step('register', register);
  await step('a step-up keeps the refresh token', stepUp);
  await step('a sign-in with a second factor', signInTwice);
  await step('a suspended session', suspension);
  await step('an impersonation that is stopped', impersonation);
  await step('an impersonation that logs out', impersonationLogsOut);
  await step('an impersonation whose session is ended', impersonationIsEnded);
  await step('no challenge is stored', noChallengeIsStored);
  await step('log out', logOut);
}, () => picture('failed'));

async function register() {
  await workbench.opened('Register');
  await workbench.fillIn({ input: ada });
  ada.id = (await workbench.run()).register.outcome.user.id;
  await workbench.says(ada.email);
}

async function stepUp() {
  const { secret, factorId } = (await ask('mutation { enrollTotp { secret factorId } }', {})).enrollTotp;
  ada.secret = secret;
  const { factor } = (await ask('mutation($in: ConfirmTotpInput!) { confirmTotp(input: $in) { factor { id } } }', {
    in: { factorId, code: nextCode() },
  })).confirmTotp;
  expect(factor, 'the factor was not confirmed');

  const refused = await workbench.say('mutation Fresh { regenerateRecoveryCodes { recoveryCodes } }');
  expect(refused.errors?.[0]?.extensions?.code === 'STEP_UP_REQUIRED', 'one factor is enough', refused);
  await workbench.press('Prove who you are');
  await workbench.opened('StepUp');
  await workbench.run();
  await picture('challenge');
  await answerChallenge({ code: nextCode() });
  await workbench.says(ada.email);

  await workbench.open('Fresh');
  const { recoveryCodes } = (await workbench.run()).regenerateRecoveryCodes;
  expect(recoveryCodes?.length === 10, 'the session was not raised', recoveryCodes);
  ada.recoveryCodes = recoveryCodes;
  await renewed(ada.email);
}

async function signInTwice() {
  await workbench.press('Sign out');
  await workbench.says(NOBODY);
  await logIn(ada);
  await workbench.says(NOBODY);
  await answerChallenge({ method: 'RECOVERY_CODE', code: ada.recoveryCodes.pop() });
  await workbench.says(ada.email);
}

async function suspension() {
  const thief = { 'User-Agent': 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0' };
  await post('{ me { id } }', {}, { ...asPage(authorization), ...thief });
  await renewalIsDue();
  await workbench.says(`${ada.email}: suspended`);
  await page.locator('.bar').getByRole('button', { name: 'Prove who you are' }).waitFor();
  await logIn(ada);
  await answerChallenge({ method: 'RECOVERY_CODE', code: ada.recoveryCodes.pop() });
  await workbench.says(ada.email);
  await renewed(ada.email);
}

async function impersonation() {
  await workbench.press('Sign out');
  await logIn(admin);
  await workbench.says(admin.email);
  await actAsAda();
  await workbench.open('Me');
  expect((await workbench.run()).me.email === ada.email, 'the page does not act as Ada');
  await page.reload();
  await workbench.says(`Acting as ${ada.email}`);
  await workbench.press('Stop acting');
  await workbench.says(admin.email);
  await workbench.open('Me');
  expect((await workbench.run()).me.email === admin.email, 'the page still acts as Ada');
  await renewed(admin.email);
}

async function impersonationLogsOut() {
  await actAsAda();
  const { data } = await workbench.say('mutation Leave { logout { sessionId userErrors { code } } }');
  expect(data.logout?.sessionId, 'the impersonation was not ended', data);
  await workbench.says(admin.email);
}

async function impersonationIsEnded() {
  await actAsAda();
  const end = 'mutation($in: RevokeUserSessionsInput!) { revokeUserSessions(input: $in) { user { id } } }';
  await ask(end, { in: { userId: ada.id } }, asPage(admin.authorization));
  const answer = await workbench.say('mutation Work { processCsv(input: { text: "a" }) { job { id } } }');
  expect(answer.errors?.[0]?.extensions?.code === 'UNAUTHENTICATED', 'the administrator did what was Ada\'s to do', answer);
  await workbench.says(admin.email);
}

async function noChallengeIsStored() {
  const stored = await page.evaluate(() => JSON.stringify(localStorage));
  expect(stored.includes('VerifyMfa') && !stored.includes('chl_'), 'localStorage holds a challenge');
}

async function logOut() {
  await workbench.say('mutation { logout { sessionId } }');
  await workbench.says(NOBODY);
}

async function logIn({ email, password }) {
  await workbench.open('LogIn');
  await workbench.fillIn({ input: { email, password } });
  await workbench.run();
}

/** Opens the tab that the bar offers, and answers as it is filled in or by another method. */
async function answerChallenge(answer) {
  await workbench.press('Answer the challenge');
  await workbench.opened('VerifyMfa');
  const { input } = await workbench.variables('chl_');
  expect(input.method === 'TOTP' || input.method === 'RECOVERY_CODE', 'the tab answers by another method', input);
  await workbench.fillIn({ input: { ...input, ...answer } });
  const { outcome, userErrors } = (await workbench.run()).verifyMfa;
  expect(outcome?.__typename === 'SessionTokens', 'the challenge was not answered', userErrors);
}

/** Acts as Ada by an operation that asks for nothing but the token. */
async function actAsAda() {
  const sent = page.waitForRequest(request => request.postData()?.includes('impersonateUser'));
  const { data } = await workbench.say(
    `mutation Act { impersonateUser(input: { userId: "${ada.id}", reason: "a call for help", readOnly: false }) { outcome { accessToken } userErrors { code } } }`,
  );
  admin.authorization = (await sent).headers().authorization;
  expect(data.impersonateUser?.outcome, 'the administrator may not act as Ada', data);
  await workbench.says(`Acting as ${ada.email}`);
}

/** Shows that the page holds a refresh token that is good. */
async function renewed(email) {
  await renewalIsDue();
  await workbench.says(email);
  await workbench.open('Me');
  expect((await workbench.run()).me.email === email, `the page is not ${email} after a renewal`);
}

/** Loads the page anew, with tokens whose renewal is due, and waits for the server's answer to it. */
async function renewalIsDue() {
  await page.evaluate(() => sessionStorage.setItem('renewal-is-due', 'yes'));
  const answer = page.waitForResponse(response => response.request().postData()?.includes('refreshSession'));
  await page.reload();
  await answer;
}

/** Runs in the page before its own scripts. */
function makeDue() {
  if (!sessionStorage.getItem('renewal-is-due')) return;
  sessionStorage.removeItem('renewal-is-due');
  const key = 'gatehouse-explorer:session';
  const kept = JSON.parse(sessionStorage.getItem(key));
  sessionStorage.setItem(key, JSON.stringify({ ...kept, renewAt: 0 }));
}

/** A code of Ada's authenticator app (RFC 6238) that was not used yet: of this step or, at most once, of the next. */
function nextCode() {
  usedStep = Math.max(Math.floor(Date.now() / TOTP_STEP_MS), usedStep + 1);
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(usedStep));
  const digest = createHmac('sha1', fromBase32(ada.secret)).update(counter).digest();
  const at = digest.at(-1) & 15;
  return String((digest.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

function fromBase32(text) {
  const bits = [...text].map(letter => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  return Buffer.from(bits.match(/.{8}/g).map(byte => Number.parseInt(byte, 2)));
}

/** Asks the server beside the page, as the page does unless told otherwise. */
async function ask(query, variables, headers = asPage(authorization)) {
  const { data, errors } = await post(query, variables, headers);
  expect(!errors, 'the server refused', errors);
  return data;
}

async function post(query, variables, headers) {
  const response = await fetch(`${baseURL}/graphql`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify({ query, variables }),
  });
  return response.json();
}

/** The headers of a request that the server takes for the page's: another program would suspend its session. */
function asPage(authorization) {
  return { Authorization: authorization, 'User-Agent': userAgent };
}

/** Saves SCREENSHOT with a suffix. */
async function picture(suffix) {
  const path = process.env.SCREENSHOT?.replace(/(\.\w+)?$/, `-${suffix}$1`);
  if (path) await page.screenshot({ path });
}
