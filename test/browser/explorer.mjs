// Drives the explorer in a real browser, from an account to a finished job, as a newcomer would.
//
//   BASE_URL=http://127.0.0.1:8080 SCREENSHOT=explorer.png node explorer.mjs
//
// It fails when a step does not come to its end within STEP_TIMEOUT_MS, when any request leaves the origin, on a
// violation of the content security policy or an error in the console, when a secret reaches localStorage, and on a
// serious or critical finding of axe in the front page or the explorer's bar. Every run makes an account of its own;
// EMAIL names its address, for a picture from a server that does not know it yet.
import { randomUUID } from 'node:crypto';
import AxeBuilder from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const baseURL = new URL(process.env.BASE_URL ?? 'http://127.0.0.1:8080');
const screenshot = process.env.SCREENSHOT;
const STEP_TIMEOUT_MS = 30_000;

const email = process.env.EMAIL ?? `ada+${Date.now()}@example.com`;
const password = `violet-${randomUUID()}`;
let jobId; // of the job that a step starts and later steps look for

const complaints = [];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const context = await browser.newContext({ baseURL: baseURL.href, viewport: { width: 1200, height: 850 } });
context.setDefaultTimeout(STEP_TIMEOUT_MS);
// Monaco draws only the lines in view, so texts are read from its models, which GraphiQL names by their content.
await context.addInitScript(() => {
  window.editorModel = name => window.__MONACO?.editor.getModels().find(({ uri }) => uri.path.endsWith(`${name}.json`));
});
const page = await context.newPage();
watch();

try {
  await step('front page', frontPage);
  await step('register', register);
  await step('log in', logIn);
  await step('me', me);
  await step('process a CSV', processCsv);
  await step('watch the job', watchTheJob);
  await step('my jobs', myJobs);
  await step('bar is accessible', barIsAccessible);
  await step('a reload keeps the session', reload);
  await step('no secret is stored', noSecretIsStored);
  await step('sign out', signOut);
} catch (error) {
  complaints.push(error.stack);
  await savePicture('failed');
}
await browser.close();
for (const complaint of complaints) console.error(`FAIL ${complaint}`);
process.exitCode = complaints.length > 0 ? 1 : 0;

async function step(name, run) {
  const began = performance.now();
  await run();
  console.log(`ok   ${name} (${Math.round(performance.now() - began)} ms)`);
}

function watch() {
  const stays = url => ['data:', 'blob:'].includes(new URL(url).protocol) || new URL(url).host === baseURL.host;
  context.on('request', request => {
    if (!stays(request.url())) complaints.push(`request to another origin: ${request.url()}`);
  });
  page.on('websocket', socket => {
    if (!stays(socket.url())) complaints.push(`socket to another origin: ${socket.url()}`);
  });
  context.on('console', message => {
    if (message.type() === 'error') complaints.push(`console error: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', error => complaints.push(`uncaught error: ${error.stack}`));
  page.on('crash', () => complaints.push('the page crashed'));
}

async function frontPage() {
  await page.goto('/');
  await savePicture('front');
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await accessible(`front page, ${colorScheme}`, new AxeBuilder({ page }));
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.getByRole('link', { name: 'Open the explorer' }).click();
}

async function register() {
  await page.getByRole('tab', { name: 'Register' }).waitFor();
  await fillIn({ input: { email, password, name: 'Ada' } });
  const { outcome, userErrors } = (await run()).register;
  expect(outcome?.__typename === 'SessionTokens', `register gave ${JSON.stringify({ outcome, userErrors })}`);
  await signedInAs(email);
}

async function logIn() {
  await open('LogIn');
  await fillIn({ input: { email, password } });
  const { outcome, userErrors } = (await run()).login;
  expect(outcome?.user?.email === email, `login gave ${JSON.stringify({ outcome, userErrors })}`);
}

async function me() {
  await open('Me');
  const viewer = (await run()).me;
  expect(viewer?.email === email, `me gave ${JSON.stringify(viewer)}`);
}

async function processCsv() {
  await open('ProcessCsv');
  const { job, userErrors } = (await run()).processCsv;
  expect(job?.id, `processCsv gave ${JSON.stringify(userErrors)}`);
  jobId = job.id;
}

async function watchTheJob() {
  await open('WatchTheJob');
  await page.waitForFunction(id => window.editorModel('variables').getValue().includes(id), jobId);
  const { job } = (await run('jobEvents.job.state', 'SUCCEEDED')).jobEvents;
  expect(job.result?.rows === 3, `the summary says ${JSON.stringify(job.result)}`);
  await savePicture();
  await page.emulateMedia({ colorScheme: 'dark' });
  await savePicture('dark');
  await page.emulateMedia({ colorScheme: 'light' });
}

async function myJobs() {
  await open('MyJobs');
  const { nodes } = (await run()).jobs;
  expect(nodes.some(({ id }) => id === jobId), `job ${jobId} is not among ${JSON.stringify(nodes)}`);
}

async function barIsAccessible() {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await accessible(`bar, ${colorScheme}`, new AxeBuilder({ page }).include('.bar'));
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

async function reload() {
  await page.reload();
  await page.getByRole('tab', { name: 'MyJobs', selected: true }).waitFor();
  await signedInAs(email);
  expect((await run()).jobs.nodes.length > 0, 'the reloaded page is not signed in');
}

async function noSecretIsStored() {
  const stored = await page.evaluate(() => JSON.stringify(localStorage));
  expect(stored.includes('Register'), 'the tabs are not stored');
  expect(!stored.includes(password), 'localStorage holds the password');
  expect(!/"?accessToken\\*"\s*:/.test(stored), 'localStorage holds a token');
}

async function signOut() {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.locator('.bar').getByText('Not signed in').waitFor();
  await page.reload();
  await page.locator('.bar').getByText('Not signed in').waitFor();
}

async function open(name) {
  await page.getByRole('tab', { name }).click();
  await page.getByRole('tab', { name, selected: true }).waitFor();
}

/** Writes the variables of the open tab. */
async function fillIn(variables) {
  await page.waitForFunction(() => window.editorModel('variables'));
  await page.evaluate(text => window.editorModel('variables').setValue(text), JSON.stringify(variables, null, 2));
}

/**
 * Runs the open tab and gives the data of its answer: the first answer, or the first that has the value at the path.
 * An answer with errors fails at once.
 */
async function run(path = '', value = undefined) {
  await page.getByRole('button', { name: /^Execute query/ }).click();
  const shown = await page.waitForFunction(
    ([path, value]) => {
      const text = window.editorModel('response').getValue();
      if (!text) return null;
      const answer = JSON.parse(text);
      const found = path.split('.').reduce((inner, key) => inner?.[key], answer.data);
      return answer.errors || !path || found === value ? answer : null;
    },
    [path, value],
  );
  const { data, errors } = await shown.jsonValue();
  expect(!errors, `the server answered ${JSON.stringify(errors)}`);
  return data;
}

async function signedInAs(address) {
  await page.locator('.bar').getByText(address).waitFor();
}

async function accessible(what, axe) {
  const { violations } = await axe.analyze();
  for (const { id, impact, help, nodes } of violations) {
    if (!['serious', 'critical'].includes(impact)) continue;
    complaints.push(`axe, ${what}: ${impact} ${id}: ${help}: ${nodes.map(node => node.html).join(' ')}`);
  }
}

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** Saves SCREENSHOT, or, with a suffix, a picture beside it: explorer.png, explorer-front.png. */
async function savePicture(suffix) {
  if (!screenshot) return;
  await page.screenshot({ path: suffix ? screenshot.replace(/(\.\w+)?$/, `-${suffix}$1`) : screenshot });
}
