// Walks through passkeys in a real browser with its virtual authenticator, as a page would use them: as the second
// factor of a sign-in, as the proof of a step-up and as the only thing that a person shows.
//
//   BASE_URL=http://localhost:8080 node passkey.mjs
//
// Each walk has an account of its own, in cookie mode and with bearer tokens. It fails when the server or the browser
// does not do what it should.
import { randomUUID } from 'node:crypto';
import { expect, finish, launch, open, step } from './chromium.mjs';

const baseURL = process.env.BASE_URL ?? 'http://localhost:8080'; // passkeys do not work at an IP address

const outcome = `outcome { __typename
  ... on SessionTokens { accessToken session { id assurance } }
  ... on MfaChallenge { id methods passkeyOptions } } userErrors { code message }`;

const browser = await launch();

/** One person with their browser, authenticators and account. */
class Walk {
  email = `ada+${randomUUID()}@example.com`;
  password = `violet-${randomUUID()}`;
  token = null; // in bearer mode: of who is signed in

  static async begin(mode) {
    const walk = new Walk();
    walk.mode = mode;
    const context = await open(browser);
    walk.page = await context.newPage();
    walk.devtools = await context.newCDPSession(walk.page);
    await walk.devtools.send('WebAuthn.enable');
    walk.phone = await walk.plugIn({ transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true });
    await walk.page.goto(`${baseURL}/explorer`);
    return walk;
  }

  static steps = {
    'a passkey is registered': async walk => {
      walk.session = (await walk.enter('register', { email: walk.email, password: walk.password })).session;
      expect(walk.session.assurance === 'aal1', 'a password is two factors', walk.session);
      const finished = await walk.register('This browser');
      expect(finished.factor?.name === 'This browser', 'the passkey was not registered', finished);
      expect(finished.recoveryCodes?.length === 10, 'there are no recovery codes', finished);
    },

    'a step-up by passkey': async walk => {
      const codes = 'mutation { regenerateRecoveryCodes { recoveryCodes } }';
      const refused = (await walk.post(codes)).errors?.[0]?.extensions?.code;
      expect(refused === 'STEP_UP_REQUIRED', 'one factor is enough', refused);
      const { challenge } = (await walk.send('mutation { stepUp { challenge { id methods passkeyOptions } } }')).stepUp;
      expect(challenge?.methods.includes('PASSKEY'), 'the step-up does not ask for the passkey', challenge);
      const raised = await walk.answer(challenge);
      expect(raised.session.assurance === 'aal2' && raised.session.id === walk.session.id, 'the session was not raised', raised);
      const { recoveryCodes } = (await walk.send(codes)).regenerateRecoveryCodes;
      expect(recoveryCodes?.length === 10, 'the raised session may not do it', recoveryCodes);
    },

    'a passkey beside the password': async walk => {
      await walk.signOut();
      const challenge = await walk.enter('login', { email: walk.email, password: walk.password });
      expect(challenge.methods?.includes('PASSKEY'), 'the sign-in does not ask for the passkey', challenge);
      const { session } = await walk.answer(challenge);
      expect(session.assurance === 'aal2', 'the passkey is no second factor', session);
    },

    'a passkey alone, picked by the person or found by the address': async walk => {
      for (const whose of [{}, { email: walk.email }]) {
        await walk.signOut();
        const { session } = await walk.enterAlone(whose);
        expect(session?.assurance === 'aal2', 'the passkey alone does not sign in', { whose, session });
      }
    },

    'a key without a PIN is one factor of two': async walk => {
      await walk.devtools.send('WebAuthn.removeVirtualAuthenticator', walk.phone);
      await walk.plugIn({ transport: 'usb', hasResidentKey: false, hasUserVerification: false });
      const key = await walk.register('A key without a PIN');
      expect(key.factor && !key.recoveryCodes, 'the second passkey was not registered', key);
      await walk.signOut();
      const half = await walk.enterAlone({ email: walk.email });
      expect(half.methods?.includes('PASSWORD') && !half.methods.includes('PASSKEY'), 'a key that does not know its user is two factors', half);
      const whole = await walk.enter('verifyMfa', { challengeId: half.id, method: 'PASSWORD', code: walk.password });
      expect(whole.session?.assurance === 'aal2', 'the password is no second factor beside it', whole);
    },
  };

  /** Plugs an authenticator in that answers at once. */
  plugIn(options) {
    return this.devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', automaticPresenceSimulation: true, ...options },
    });
  }

  async register(name) {
    const begun = await this.call('startPasskeyRegistration', `ceremonyId options`, {});
    const response = await this.page.evaluate(async options => {
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
      return (await navigator.credentials.create({ publicKey })).toJSON();
    }, begun.options);
    return this.call('finishPasskeyRegistration', `factor { kind name } recoveryCodes`, { ceremonyId: begun.ceremonyId, response, name });
  }

  /** Signs a challenge with whatever passkey the authenticator has for it. */
  sign(options) {
    return this.page.evaluate(async options => {
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
      return (await navigator.credentials.get({ publicKey })).toJSON();
    }, options);
  }

  /** Answers a challenge by passkey. */
  async answer({ id, passkeyOptions }) {
    const passkeyResponse = await this.sign(passkeyOptions);
    const answered = await this.enter('verifyMfa', { challengeId: id, method: 'PASSKEY', passkeyResponse });
    expect(answered.session, 'the passkey does not answer the challenge', answered);
    return answered;
  }

  async enterAlone(whose) {
    const begun = await this.call('startPasskeyLogin', `ceremonyId options`, whose);
    return this.enter('finishPasskeyLogin', { ceremonyId: begun.ceremonyId, response: await this.sign(begun.options) });
  }

  /** Runs a mutation that leads to a session or a challenge, and keeps the token of a session. */
  async enter(mutation, input) {
    const payload = await this.call(mutation, outcome, input);
    expect(payload.outcome, `${mutation} was refused`, payload);
    expect(this.mode === 'bearer' || !payload.outcome.accessToken, 'a token stands in the answer in cookie mode', mutation);
    this.token = payload.outcome.accessToken ?? this.token;
    return payload.outcome;
  }

  async signOut() {
    await this.send('mutation { logout { sessionId } }');
    this.token = null;
  }

  /** Runs a mutation of one input and gives its payload. */
  async call(mutation, fields, input) {
    const type = `${mutation[0].toUpperCase()}${mutation.slice(1)}Input`;
    const errors = fields.includes('userErrors') ? '' : 'userErrors { code message }';
    const data = await this.send(`mutation($input: ${type}!) { ${mutation}(input: $input) { ${fields} ${errors} } }`, { input });
    return data[mutation];
  }

  async send(query, variables = {}) {
    const { data, errors } = await this.post(query, variables);
    expect(!errors, 'the server refused', errors);
    return data;
  }

  post(query, variables = {}) {
    const credential = this.mode === 'cookie' ? { 'Gatehouse-Session': 'cookie' } : this.token && { Authorization: `Bearer ${this.token}` };
    return this.page.evaluate(
      async ([body, credential]) => {
        const headers = { 'Content-Type': 'application/json', ...credential };
        return (await fetch('/graphql', { method: 'POST', headers, body })).json();
      },
      [JSON.stringify({ query, variables }), credential],
    );
  }
}

await finish(browser, [], async () => {
  for (const mode of ['cookie', 'bearer']) {
    const walk = await Walk.begin(mode);
    for (const [name, run] of Object.entries(Walk.steps)) await step(`${mode}: ${name}`, () => run(walk));
  }
});
