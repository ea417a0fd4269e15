// Opens every page that a link of a mail leads to, as a person does on a phone, in three languages.
//
//   BASE_URL=http://127.0.0.1:8080 OUTBOX=data/outbox node links.mjs
//
// Scripts are switched off while a page is used. It fails when a page is not in the language of its account (or of the
// browser, where the link is of no account), has no title, is wider than a phone, loads or runs anything, has a serious
// or critical finding of axe, or does not do what its button says. SCREENSHOTS names a folder for pictures.
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import AxeBuilder from '@axe-core/playwright';
import { expect, finish, launch, open, step } from './chromium.mjs';

const baseURL = process.env.BASE_URL ?? 'http://127.0.0.1:8080';
const outbox = process.env.OUTBOX ?? 'data/outbox';
const PHONE = { width: 360, height: 640 };
const PATIENCE_MS = 10_000;

const languages = [
  { tag: 'en', browser: 'en-GB', refusal: 'Ask for a new one', weak: 'easy to guess' },
  { tag: 'de', browser: 'de-AT', refusal: 'Fordern Sie einen neuen an', weak: 'leicht zu erraten' },
  { tag: 'es', browser: 'es-MX', refusal: 'Pide uno nuevo', weak: 'fácil de adivinar' },
];

const complaints = [];
const browser = await launch();

/** One person with an account in a language, on a phone whose browser prefers another. */
class Person {
  password = `violet-${randomUUID()}`;
  #read = new Set(); // letters

  constructor(language) {
    this.language = language;
    this.email = `${language.tag}+${randomUUID()}@example.com`;
  }

  async begin() {
    const other = languages[(languages.indexOf(this.language) + 1) % languages.length];
    const phone = { viewport: PHONE, isMobile: true, hasTouch: true, baseURL };
    this.page = await (await open(browser, { ...phone, locale: other.browser, javaScriptEnabled: false })).newPage();
    this.stranger = await (await open(browser, { ...phone, locale: this.language.browser, javaScriptEnabled: false })).newPage();
    this.inspector = await (await open(browser, { ...phone, locale: other.browser })).newPage();
    for (const page of [this.page, this.stranger]) page.context().on('request', request => this.#watch(request));
    const { register } = await this.say('mutation($in: RegisterInput!) { register(input: $in) { outcome { ... on SessionTokens { accessToken } } } }', {
      in: { email: this.email, password: this.password, locale: this.language.tag },
    });
    this.token = register.outcome.accessToken;
  }

  #watch(request) {
    if (!['document', 'other'].includes(request.resourceType())) complaints.push(`a page loads ${request.url()}`);
    if (request.resourceType() === 'other' && !request.url().endsWith('/favicon.ico')) complaints.push(`a page asks for ${request.url()}`);
  }

  async walk() {
    const confirm = await this.mailed('verifyEmail', this.email);
    await this.visit(confirm, 'verify-email');
    await this.press();
    await this.refused(confirm);
    await this.refused(`${baseURL}/links/nothing?token=x`);

    await this.say('mutation { requestDataExport { userErrors { code } } }');
    await this.visit(await this.mailed('dataExportReady', this.email), 'data-export');

    await this.say('mutation($e: String!) { requestLoginCode(input: { email: $e }) { userErrors { code } } }', { e: this.email });
    await this.visit(await this.mailed('loginCode', this.email), 'login-elsewhere');
    expect((await this.page.locator('form').count()) === 0, 'who keeps tokens is offered a form');

    await this.say('mutation($e: String!) { requestPasswordReset(input: { email: $e }) { userErrors { code } } }', { e: this.email });
    await this.visit(await this.mailed('passwordReset', this.email), 'reset-password');
    await this.page.locator('#password').fill('password1');
    await this.press(false);
    await this.page.getByRole('alert').getByText(this.language.weak).waitFor();
    await this.inspect('weak-password');
    this.password = `orbit-${randomUUID()}`;
    await this.page.locator('#password').fill(this.password);
    await this.press();
    await this.visit(await this.mailed('passwordChanged', this.email), 'not-me');

    await this.logIn();
    const old = this.email;
    this.email = `fresh-${old}`;
    await this.say('mutation($e: String!) { requestEmailChange(input: { newEmail: $e }) { userErrors { code } } }', { e: this.email });
    await this.visit(await this.mailed('emailChangeConfirm', this.email), 'change-email');
    await this.press();
    await this.visit(await this.mailed('emailChanged', old), 'undo-email');

    await this.say('mutation { deleteAccount(input: {}) { userErrors { code } } }');
    await this.visit(await this.mailed('accountDeletionScheduled', this.email), 'keep-account');
    await this.press();

    await this.say('mutation($e: String!) { requestLoginCode(input: { email: $e }) { userErrors { code } } }', { e: this.email }, { 'Gatehouse-Session': 'cookie' });
    await this.visit(await this.mailed('loginCode', this.email), 'login');
    await this.page.getByRole('button').click();
    await this.page.waitForURL(url => url.pathname === '/');
    const kept = (await this.page.context().cookies()).filter(({ name }) => name.startsWith('__Host-gh_'));
    expect(kept.length === 2 && kept.every(({ httpOnly, secure }) => httpOnly && secure), 'the link signs nobody in', kept);
  }

  async visit(link, name) {
    await this.page.goto(link);
    await this.inPlace(this.page, name);
    await this.inspect(name);
  }

  /** Presses the page's button and sees that it says what has happened. */
  async press(done = true) {
    await this.page.getByRole('button').click();
    if (done) await this.page.getByRole('status').waitFor();
    await this.inPlace(this.page, 'after the button');
    if (done) expect((await this.page.getByRole('alert').count()) === 0, 'the page complains', await this.page.locator('main').innerText());
  }

  /** Opens a link that is of no account any more, in a browser of this language. */
  async refused(link) {
    await this.stranger.goto(link);
    await this.inPlace(this.stranger, 'refusal');
    await this.stranger.getByRole('alert').getByText(this.language.refusal).waitFor();
    await picture(this.stranger, `${this.language.tag}-refusal`);
  }

  async inPlace(page, name) {
    const seen = {
      name,
      language: await page.locator('html').getAttribute('lang'),
      title: await page.title(),
      heading: await page.getByRole('heading', { level: 1 }).innerText(),
      box: await page.locator('main').boundingBox(),
    };
    expect(seen.language === this.language.tag, 'a page is in another language', seen);
    expect(seen.title.startsWith(`${seen.heading} – `), 'a page has no title', seen);
    expect(seen.box.x >= 0 && seen.box.x + seen.box.width <= PHONE.width, 'a page is wider than a phone', seen);
  }

  /** Looks at what the page shows in a browser whose inspector may run scripts. */
  async inspect(name) {
    await picture(this.page, `${this.language.tag}-${name}`);
    await this.inspector.setContent(await this.page.content());
    const wide = await this.inspector.evaluate(() => document.documentElement.scrollWidth);
    expect(wide <= PHONE.width, 'a page scrolls sideways', { name, wide });
    if (this.language !== languages[0] || !name.endsWith('password')) return; // these have all that any page has
    for (const colorScheme of ['light', 'dark']) {
      await this.inspector.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page: this.inspector }).analyze();
      for (const { id, impact, help } of violations) {
        if (['serious', 'critical'].includes(impact)) complaints.push(`axe, ${name}, ${colorScheme}: ${id}: ${help}`);
      }
    }
  }

  async logIn() {
    this.token = null; // its session has ended
    const { login } = await this.say('mutation($in: LoginInput!) { login(input: $in) { outcome { ... on SessionTokens { accessToken } } } }', {
      in: { email: this.email, password: this.password },
    });
    this.token = login.outcome.accessToken;
  }

  /** The link of the newest mail of a kind to an address, once it has come. */
  async mailed(kind, to) {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise(resolve => setTimeout(resolve, 50))) {
      for (const file of readdirSync(outbox).filter(name => name.endsWith('.json')).sort().reverse()) {
        const { message } = JSON.parse(readFileSync(join(outbox, file), 'utf8'));
        if (message.kind !== kind || message.to !== to || this.#read.has(file)) continue;
        this.#read.add(file);
        return message.link;
      }
    }
    throw new Error(`no ${kind} has come to ${to}`);
  }

  async say(query, variables = {}, more = {}) {
    const headers = { 'Content-Type': 'application/json', ...(this.token && !more['Gatehouse-Session'] && { Authorization: `Bearer ${this.token}` }), ...more };
    const response = await fetch(`${baseURL}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
    const { data, errors } = await response.json();
    const refused = Object.values(data ?? {}).flatMap(payload => payload?.userErrors ?? []);
    expect(!errors && refused.length === 0, 'the server refused', { query, errors, refused });
    return data;
  }
}

await finish(browser, complaints, async () => {
  for (const language of languages) {
    const person = new Person(language);
    await person.begin();
    await step(`pages in ${language.tag}`, () => person.walk());
  }
});

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
}
