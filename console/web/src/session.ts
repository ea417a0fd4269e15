import type { ExecutionResult } from 'graphql';
import { errorCodes, post } from './http';
import LOGOUT from './operations/logout.graphql?raw';
import REFRESH from './operations/refresh-session.graphql?raw';
import WHO_AM_I from './operations/who-am-i.graphql?raw';

/** What a sign-in gave us. */
interface Tokens {
  accessToken: string;
  /** Absent when the operation did not ask for it; the session then ends with its access token. */
  refreshToken?: string;
  email?: string;
  /** When to exchange the tokens for fresh ones, in ms since 1970. */
  renewAt: number;
}

/** Where the tokens survive a reload. */
export interface Keep {
  put(tokens: Tokens): void;
  /** Gives the tokens back and forgets them: they have one owner at a time. */
  take(): Tokens | null;
}

// Renew after this share of an access token's life, so that one minute of five is left for a slow network.
const RENEW_AFTER = 0.8;
// A token that has just come is good, whatever a clock that runs ahead of the server's says.
const SHORTEST_LIFE_MS = 60_000;
// A token without a time of expiry is renewed when the server refuses it.
const NEVER = Number.POSITIVE_INFINITY;
const RETRY_RENEWAL_MS = 10_000;
// setTimeout fires at once above this delay (a signed 32-bit number of ms).
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The session of this page. It learns tokens from any result that carries them, renews them before they expire and
 * forgets them at logout. Listeners hear of every change.
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
    this.#change(this.keep.take());
  }

  /** Leaves the session for the next load of this page. */
  suspend() {
    if (this.#tokens) this.keep.put(this.#tokens);
  }

  readonly subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The e-mail address of who is signed in; empty while it is not known, null when nobody is. */
  readonly email = (): string | null => (this.#tokens ? (this.#tokens.email ?? '') : null);

  /** The token as it stands, or null. */
  readonly accessToken = (): string | null => this.#tokens?.accessToken ?? null;

  /** The headers of a request, with a token that has been renewed if it was about to expire. */
  async headers(): Promise<Record<string, string>> {
    if (this.#tokens && Date.now() >= this.#tokens.renewAt) await this.#renew();
    return bearer(this.accessToken());
  }

  /** Renews a token that the server has refused. It says whether the request, which did nothing, is worth a second try. */
  async recover(result: ExecutionResult): Promise<boolean> {
    const didNothing = Object.values(result.data ?? {}).every(field => field === null);
    if (!this.#tokens || !didNothing || !errorCodes(result).includes('UNAUTHENTICATED')) return false;
    const refused = this.#tokens;
    await this.#renew();
    return this.#tokens !== refused;
  }

  /** Learns from a result: tokens that it carries replace ours, a successful `logout` drops them. */
  observe(result: ExecutionResult) {
    if (loggedOut(result)) {
      this.#change(null);
      return;
    }
    const tokens = findTokens(result.data);
    if (!tokens) return;
    this.#change(tokens);
    if (tokens.email === undefined) void this.#askWho();
  }

  /** Ends the session here, and on the server if it can be reached: its own expiry ends it there otherwise. */
  async signOut() {
    const headers = bearer(this.accessToken());
    this.#change(null);
    await post({ query: LOGOUT }, headers).catch(() => undefined);
  }

  #renew(): Promise<void> {
    this.#renewal ??= this.#exchange().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #exchange() {
    const old = this.#tokens;
    if (!old) return;
    if (!old.refreshToken) {
      this.#change(null);
      return;
    }
    const result = await post({ query: REFRESH, variables: { input: { refreshToken: old.refreshToken } } }).catch(() => null);
    if (this.#tokens !== old) return; // signed in or out meanwhile
    const fresh = findTokens(result?.data);
    if (fresh) this.#change({ ...fresh, email: fresh.email ?? old.email });
    else if (result && refused(result)) this.#change(null);
    else this.#schedule(RETRY_RENEWAL_MS);
  }

  async #askWho() {
    const tokens = this.#tokens;
    const result = await post({ query: WHO_AM_I }, bearer(this.accessToken())).catch(() => null);
    const email = (result?.data as { me?: { email?: string } } | null)?.me?.email;
    if (email && tokens && this.#tokens === tokens) this.#change({ ...tokens, email });
  }

  #change(tokens: Tokens | null) {
    this.#tokens = tokens;
    clearTimeout(this.#timer);
    if (tokens?.refreshToken) this.#schedule(tokens.renewAt - Date.now());
    for (const listener of this.#listeners) listener();
  }

  #schedule(delayMs: number) {
    clearTimeout(this.#timer);
    if (delayMs <= LONGEST_TIMER_MS) this.#timer = setTimeout(() => void this.#renew(), delayMs);
  }
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
    if (!text) return null;
    const tokens = JSON.parse(text) as Tokens;
    return { ...tokens, renewAt: tokens.renewAt ?? NEVER }; // JSON writes an infinite number as null
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
      renewAt: typeof accessTokenExpiresAt === 'string' ? renewalTime(accessTokenExpiresAt) : NEVER,
    };
  }
  for (const value of Object.values(data)) {
    const found = findTokens(value);
    if (found) return found;
  }
  return null;
}

function renewalTime(expiresAt: string): number {
  const life = Math.max(Date.parse(expiresAt) - Date.now(), SHORTEST_LIFE_MS);
  return Date.now() + life * RENEW_AFTER;
}

/** Whether the server has refused to renew, as against failing to. */
function refused(result: ExecutionResult): boolean {
  const { refreshSession } = (result.data ?? {}) as { refreshSession?: { userErrors?: unknown[] } | null };
  return Boolean(refreshSession?.userErrors?.length) || errorCodes(result).includes('UNAUTHENTICATED');
}

function loggedOut(result: ExecutionResult): boolean {
  const { logout } = (result.data ?? {}) as { logout?: { userErrors?: unknown[] } | null };
  return Boolean(logout) && !logout?.userErrors?.length;
}
