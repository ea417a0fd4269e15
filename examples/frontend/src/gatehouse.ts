import { authExchange } from '@urql/exchange-auth';
import { createClient, MessageType } from 'graphql-ws';
import { Client, fetchExchange, subscriptionExchange } from 'urql';
import type { TokensFragment } from './generated/graphql.js';
import { RefreshSession } from './operations.js';

// Renew after this share of a token's life, so that a stream never meets the end of its token.
const RENEW_AFTER = 0.8;
const RETRY_MS = 10_000;

export interface Options {
  /** The whole address of /graphql. */
  url: string;
  /** Hears that the session has ended: it was revoked, or it expired while nobody was there. */
  onSignedOut?: () => void;
  /** Where the runtime has no global WebSocket. */
  webSocketImpl?: unknown;
}

/**
 * An urql client that signs its requests, exchanges tokens before they expire or when the server refuses them, and
 * brings a fresh token over the open socket, so that subscriptions live as long as the session.
 *
 * The tokens stay in memory and end with the page. A page that wants to stay signed in over a reload sends the header
 * `Gatehouse-Session: cookie` with every request, and the tokens travel as cookies that no script can read.
 */
export class Gatehouse {
  readonly client: Client;
  readonly #options: Options;
  readonly #unsigned: Client; // for refreshSession, which must not wait for itself
  #tokens: TokensFragment | null = null;
  #renewal: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #socket: WebSocket | null = null;

  constructor(options: Options) {
    this.#options = options;
    this.#unsigned = new Client({ url: options.url, exchanges: [fetchExchange], preferGetMethod: false });
    this.client = new Client({
      url: options.url,
      exchanges: [this.#authentication(), fetchExchange, this.#subscriptions()],
      preferGetMethod: false,
    });
  }

  /** Takes up the session of a `register`, `login` or `verifyMfa`. After a step-up the refresh token stays the same. */
  signIn(tokens: TokensFragment) {
    this.#take({ ...tokens, refreshToken: tokens.refreshToken ?? this.#tokens?.refreshToken ?? null });
  }

  /** Forgets the session; the server ends it with the mutation `logout`. */
  signOut() {
    this.#take(null);
  }

  #take(tokens: TokensFragment | null) {
    this.#tokens = tokens;
    clearTimeout(this.#timer);
    if (!tokens) return;
    const lifeMs = Date.parse(tokens.accessTokenExpiresAt) - Date.now();
    this.#renewIn(Math.max(lifeMs * RENEW_AFTER, RETRY_MS));
    if (this.#socket?.readyState === 1) {
      this.#socket.send(JSON.stringify({ type: MessageType.Ping, payload: this.#authorization() }));
    }
  }

  #renewIn(delayMs: number) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#renew(), delayMs);
  }

  /** Exchanges the tokens, once for all who ask meanwhile: a refresh token is good once. */
  #renew(): Promise<void> {
    this.#renewal ??= this.#exchange().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #exchange() {
    const old = this.#tokens;
    if (!old) return;
    const input = { refreshToken: old.refreshToken };
    const { data } = await this.#unsigned.mutation(RefreshSession, { input }).toPromise();
    if (this.#tokens !== old) return; // somebody signed in or out meanwhile
    if (!data) return this.#renewIn(RETRY_MS); // the server is away
    const { outcome } = data.refreshSession;
    const fresh = outcome?.__typename === 'SessionTokens' ? outcome : null;
    this.#take(fresh);
    if (!fresh) this.#options.onSignedOut?.();
  }

  #authorization(): Record<string, string> {
    return this.#tokens ? { Authorization: `Bearer ${this.#tokens.accessToken}` } : {};
  }

  #authentication() {
    return authExchange(async utils => ({
      addAuthToOperation: operation => utils.appendHeaders(operation, this.#authorization()),
      willAuthError: () => this.#tokens !== null && Date.now() >= Date.parse(this.#tokens.accessTokenExpiresAt),
      didAuthError: ({ graphQLErrors }) =>
        this.#tokens !== null && graphQLErrors.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED'),
      refreshAuth: () => this.#renew(),
    }));
  }

  #subscriptions() {
    const socket = createClient({
      url: this.#options.url.replace(/^http/, 'ws'),
      webSocketImpl: this.#options.webSocketImpl,
      connectionParams: () => this.#authorization(),
      on: {
        connected: opened => {
          this.#socket = opened as WebSocket;
        },
        closed: () => {
          this.#socket = null;
        },
      },
    });
    return subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: sink => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    });
  }
}
