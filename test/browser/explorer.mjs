// Drives the explorer in a real browser, from an account to a finished job, as a newcomer would.
//
//   BASE_URL=http://127.0.0.1:8080 SCREENSHOT=explorer.png node explorer.mjs
//
// It fails when a step does not come to its end within 30 s, when any request leaves the origin, on a
// violation of the content security policy or an error in the console, when a secret reaches localStorage, and on a
// serious or critical finding of axe in the front page or the explorer's bar. Every run makes an account of its own;
// EMAIL names its address, for a picture from a server that does not know it yet.
import { randomUUID } from 'node:crypto';
import AxeBuilder from '@axe-core/playwright';
import { expect, finish, launch, open, step } from './chromium.mjs';
import { Workbench } from './workbench.mjs';

const baseURL = new URL(process.env.BASE_URL ?? 'http://127.0.0.1:8080');
const screenshot = process.env.SCREENSHOT;

const email = process.env.EMAIL ?? `ada+${Date.now()}@example.com`;
const password = `violet-${randomUUID()}`;
const NOBODY = 'Not signed in: run Register or LogIn';
let jobId; // of the job that a step starts and later steps look for

const complaints = [];
const browser = await launch();
const context = await open(browser, { baseURL: baseURL.href, viewport: { width: 1200, height: 850 } });
const page = await context.newPage();
const workbench = await Workbench.on(page);
watch();

await finish(browser, complaints, async () => {
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
}, () => savePicture('failed'));

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
  await workbench.fillIn({ input: { email, password, name: 'Ada' } });
  const { outcome, userErrors } = (await workbench.run()).register;
  expect(outcome?.__typename === 'SessionTokens', `register gave ${JSON.stringify({ outcome, userErrors })}`);
  await workbench.says(email);
}

async function logIn() {
  await workbench.open('LogIn');
  await workbench.fillIn({ input: { email, password } });
  const { outcome, userErrors } = (await workbench.run()).login;
  expect(outcome?.user?.email === email, `login gave ${JSON.stringify({ outcome, userErrors })}`);
}

async function me() {
  await workbench.open('Me');
  const viewer = (await workbench.run()).me;
  expect(viewer?.email === email, `me gave ${JSON.stringify(viewer)}`);
}

async function processCsv() {
  await workbench.open('ProcessCsv');
  const { job, userErrors } = (await workbench.run()).processCsv;
  expect(job?.id, `processCsv gave ${JSON.stringify(userErrors)}`);
  jobId = job.id;
}

async function watchTheJob() {
  await workbench.open('WatchTheJob');
  await workbench.variables(jobId);
  const { job } = (await workbench.run('jobEvents.job.state', 'SUCCEEDED')).jobEvents;
  expect(job.result?.rows === 3, `the summary says ${JSON.stringify(job.result)}`);
  await savePicture();
  await page.emulateMedia({ colorScheme: 'dark' });
  await savePicture('dark');
  await page.emulateMedia({ colorScheme: 'light' });
}

async function myJobs() {
  await workbench.open('MyJobs');
  const { nodes } = (await workbench.run()).jobs;
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
  await workbench.says(email);
  expect((await workbench.run()).jobs.nodes.length > 0, 'the reloaded page is not signed in');
}

async function noSecretIsStored() {
  const stored = await page.evaluate(() => JSON.stringify(localStorage));
  expect(stored.includes('Register'), 'the tabs are not stored');
  expect(!stored.includes(password), 'localStorage holds the password');
  expect(!/"?accessToken\\*"\s*:/.test(stored), 'localStorage holds a token');
}

async function signOut() {
  await workbench.press('Sign out');
  await workbench.says(NOBODY);
  await page.reload();
  await workbench.says(NOBODY);
}

async function accessible(what, axe) {
  const { violations } = await axe.analyze();
  for (const { id, impact, help, nodes } of violations) {
    if (!['serious', 'critical'].includes(impact)) continue;
    complaints.push(`axe, ${what}: ${impact} ${id}: ${help}: ${nodes.map(node => node.html).join(' ')}`);
  }
}

/** Saves SCREENSHOT, or, with a suffix, a picture beside it: explorer.png, explorer-front.png. */
async function savePicture(suffix) {
  if (!screenshot) return;
  await page.screenshot({ path: suffix ? screenshot.replace(/(\.\w+)?$/, `-${suffix}$1`) : screenshot });
}
