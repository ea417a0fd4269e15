import type { ExecutionResult } from 'graphql';
import { errorCodes, post } from './http';
import LOGOUT from './operations/logout.graphql?raw';
import REFRESH from './operations/refresh-session.graphql?raw';
import WHO_AM_I from './operations/who-am-i.graphql?raw';

/** What a sign-in gave us, and what is known of it. */
interface Tokens {
  accessToken: string;
  /** Absent when there is none, or when the operation did not ask for it; the session then ends with its access token. */
  refreshToken?: string;
  /** When to exchange the tokens for fresh ones, in ms since 1970; before expiresAt. */
  renewAt: number;
  /** When the access token expires, in ms since 1970. */
  expiresAt: number;
  email?: string;
  /** The session's id, once the server has told it. */
  session?: string;
  /** Whether an administrator acts as the person. */
  impersonation?: boolean;
  /** Whether the server asks who uses it before it goes on. */
  suspended?: boolean;
  /** What was held before: while the server has not told whose these are, and as long as they are an impersonation's. */
  before?: Tokens;
}

/** Who is signed in, as far as it may be shown. */
export type Holder = Readonly<Pick<Tokens, 'email' | 'impersonation' | 'suspended'>>;

/** Where the tokens survive a reload. */
export interface Keep {
  put(tokens: Tokens): void;
  /** Gives the tokens back and forgets them: they have one owner at a time. */
  take(): Tokens | null;
}

// Renew after this share of an access token's life, so that two minutes of ten are left for a slow network.
const RENEW_AFTER = 0.8;
// A token that has just come is good, whatever a clock that runs ahead of the server's says.
const SHORTEST_LIFE_MS = 60_000;
// A token without a time of expiry is renewed when the server refuses it. JSON has no infinite numbers.
const NEVER = Number.MAX_SAFE_INTEGER;
const RETRY_MS = 10_000;
// setTimeout fires at once above this delay (a signed 32-bit number of ms).
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The session of this page. It learns tokens from any result that carries them, asks the server whose they are, renews
 * them before they expire and forgets them at logout. Listeners hear of every change.
 *
 * An answer without a refresh token is a step-up, and the one that is held stays good; or an impersonation, and the
 * administrator's own session is gone back to at its end; or the sign-in of an operation that asked for none. The
 * server's word on the session tells them apart.
 */
export class Session {
  #tokens: Tokens | null = null;
  #renewal: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(readonly keep: Keep) {
    this.resume();
  }

  /** Takes up the session that an earlier load of this page left behind, if there is one. */
  resume() {
    this.#take(this.keep.take());
  }

  /** Leaves the session for the next load of this page. */
  suspend() {
    if (this.#tokens) this.keep.put(this.#tokens);
  }

  readonly subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Who is signed in, or null; its e-mail address is absent while it is not known. */
  readonly holder = (): Holder | null => this.#tokens;

  /** The token as it stands, or null. */
  readonly accessToken = (): string | null => this.#tokens?.accessToken ?? null;

  /** The headers of a request, with a token that has been renewed if it was about to expire. */
  async headers(): Promise<Record<string, string>> {
    if (this.#tokens?.refreshToken && Date.now() >= this.#tokens.renewAt) await this.#renew();
    return bearer(this.accessToken());
  }

  /**
   * Renews a token that the server has refused. It says whether the request, which did nothing, is worth a second try:
   * not when an impersonation has ended, since it would then be the administrator's own.
   */
  async recover(result: ExecutionResult): Promise<boolean> {
    const didNothing = Object.values(result.data ?? {}).every(field => field === null);
    if (!this.#tokens || !didNothing || !errorCodes(result).includes('UNAUTHENTICATED')) return false;
    const refused = this.#tokens;
    await this.#renew();
    if (this.#tokens?.suspended) this.#end(); // its token would refuse even a sign-in
    return this.#tokens !== refused && !refused.impersonation;
  }

  /** Learns from a result: tokens that it carries take the place of ours, a successful `logout` ends them. */
  observe(result: ExecutionResult) {
    if (loggedOut(result)) {
      this.#end();
      return;
    }
    const tokens = findTokens(result.data);
    if (!tokens) return;
    const before = this.#tokens?.session ? this.#tokens : this.#tokens?.before;
    this.#take(tokens.refreshToken ? tokens : { ...tokens, before });
  }

  /** Ends the session here, and on the server if it can be reached: its own expiry ends it there otherwise. */
  async signOut() {
    const headers = bearer(this.accessToken());
    this.#end();
    await post({ query: LOGOUT }, headers).catch(() => undefined);
  }

  /** Forgets the tokens; after an impersonation the administrator's own are there again. */
  #end() {
    this.#take(this.#tokens?.impersonation ? (this.#tokens.before ?? null) : null);
  }

  #renew(): Promise<void> {
    this.#renewal ??= this.#exchange().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #exchange() {
    const old = this.#tokens;
    if (!old || old.suspended) return;
    if (!old.refreshToken) {
      this.#end();
      return;
    }
    const result = await post({ query: REFRESH, variables: { input: { refreshToken: old.refreshToken } } }).catch(() => null);
    if (this.#tokens !== old) return; // signed in or out meanwhile
    const fresh = findTokens(result?.data);
    const codes = result ? refusals(result) : [];
    if (fresh) this.#take({ ...fresh, session: old.session, email: fresh.email ?? old.email });
    else if (codes.includes('STEP_UP_REQUIRED')) this.#take({ ...old, suspended: true });
    else if (codes.length > 0) this.#end();
    else this.#later(RETRY_MS, () => this.#renew());
  }

  /** Asks the server whose tokens are held. */
  async #identify() {
    const tokens = this.#tokens;
    if (!tokens) return;
    const result = await post({ query: WHO_AM_I }, bearer(tokens.accessToken)).catch(() => null);
    if (this.#tokens !== tokens) return;
    const { me } = (result?.data ?? {}) as { me?: Me | null };
    if (me) this.#take(identified(tokens, me));
    else if (!result) this.#later(RETRY_MS, () => this.#identify());
  }

  #take(tokens: Tokens | null) {
    this.#tokens = tokens;
    clearTimeout(this.#timer);
    if (tokens && !tokens.suspended) {
      this.#later((tokens.refreshToken ? tokens.renewAt : tokens.expiresAt) - Date.now(), () => this.#renew());
      if (tokens.session === undefined) void this.#identify();
    }
    for (const listener of this.#listeners) listener();
  }

  #later(delayMs: number, work: () => Promise<void>) {
    clearTimeout(this.#timer);
    if (delayMs <= LONGEST_TIMER_MS) this.#timer = setTimeout(() => void work(), delayMs);
  }
}

/** The answer of who-am-i.graphql. */
interface Me {
  email: string;
  sessions: { nodes: { id: string; current: boolean; impersonation: boolean }[] } | null;
}

/** Tokens with what the server says of them, and with what stays good of those before. */
function identified({ before, ...tokens }: Tokens, { email, sessions }: Me): Tokens {
  const current = sessions?.nodes.find(session => session.current);
  const known = { ...tokens, email, session: current?.id ?? '', impersonation: current?.impersonation };
  if (current && current.id === before?.session) return { ...known, refreshToken: tokens.refreshToken ?? before.refreshToken };
  return current?.impersonation ? { ...known, before } : known;
}

/**
 * Keeps tokens across a reload in sessionStorage, which no other tab and no other origin can read and which goes when
 * the tab closes; a reload must not cost a developer the session, and a script that could read it (the page's policy
 * admits none but ours) could as well read the page's memory. They lie there only between two loads: a duplicated
 * tab copies the storage, and two tabs that use one refresh token look like a theft to the server.
 */
export const tabKeep: Keep = {
  put(tokens) {
    sessionStorage.setItem(KEEP_KEY, JSON.stringify(tokens));
  },
  take() {
    const text = sessionStorage.getItem(KEEP_KEY);
    sessionStorage.removeItem(KEEP_KEY);
    return text ? (JSON.parse(text) as Tokens) : null;
  },
};
const KEEP_KEY = 'gatehouse-explorer:session';

export function bearer(token: string | null): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Looks for a `SessionTokens` object anywhere in the data of a result. */
function findTokens(data: unknown): Tokens | null {
  if (typeof data !== 'object' || data === null) return null;
  const { __typename, accessToken, accessTokenExpiresAt, refreshToken, user } = data as Record<string, unknown>;
  if (typeof accessToken === 'string' && (__typename ?? 'SessionTokens') === 'SessionTokens') {
    const email = (user as { email?: unknown } | undefined)?.email;
    return {
      accessToken,
      refreshToken: typeof refreshToken === 'string' ? refreshToken : undefined,
      email: typeof email === 'string' ? email : undefined,
      ...(typeof accessTokenExpiresAt === 'string' ? times(accessTokenExpiresAt) : { renewAt: NEVER, expiresAt: NEVER }),
    };
  }
  for (const value of Object.values(data)) {
    const found = findTokens(value);
    if (found) return found;
  }
  return null;
}

function times(accessTokenExpiresAt: string): Pick<Tokens, 'renewAt' | 'expiresAt'> {
  const now = Date.now();
  const life = Math.max(Date.parse(accessTokenExpiresAt) - now, SHORTEST_LIFE_MS);
  return { renewAt: now + life * RENEW_AFTER, expiresAt: now + life };
}

/** The codes with which the server has refused to renew; none when it has failed to. */
function refusals(result: ExecutionResult): unknown[] {
  const { refreshSession } = (result.data ?? {}) as { refreshSession?: { userErrors?: { code: unknown }[] } | null };
  const codes = refreshSession?.userErrors?.map(({ code }) => code) ?? [];
  return errorCodes(result).includes('UNAUTHENTICATED') ? [...codes, 'UNAUTHENTICATED'] : codes;
}

function loggedOut(result: ExecutionResult): boolean {
  const { logout } = (result.data ?? {}) as { logout?: { userErrors?: unknown[] } | null };
  return Boolean(logout) && !logout?.userErrors?.length;
}
