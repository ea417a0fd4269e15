import type { Fetcher, FetcherParams } from '@graphiql/toolkit';
import { buildSchema, introspectionFromSchema, OperationTypeNode, parse, type ExecutionResult, type OperationDefinitionNode } from 'graphql';
import { createClient, MessageType, type Client } from 'graphql-ws';
import { GRAPHQL_PATH, post } from './http';
import { questionOf, type Question } from './questions';
import { bearer, type Session } from './session';

/** The name under which GraphiQL asks for the schema, so that we know its question from a person's. */
export const SCHEMA_QUERY = 'ExplorerSchema';

interface Observed {
  /** Hears the id of each job that a mutation answers with. */
  onJobStarted(id: string): void;
  /** Hears with each answer whether the server asks for something first. */
  onAnswer(question: Question | null): void;
}

/** Sends what GraphiQL runs: queries and mutations over HTTP, subscriptions over graphql-transport-ws. */
export function createFetcher(session: Session, { onJobStarted, onAnswer }: Observed): Fetcher {
  const socket = connect(session);
  return (params, options) => {
    if (params.operationName === SCHEMA_QUERY) return publishedSchema();
    const operation = operationOf(params);
    const request = { ...params, operationName: operation ? operation.name?.value : params.operationName };
    if (operation?.operation === OperationTypeNode.SUBSCRIPTION) return stream(socket, request);
    return send(session, request, options?.headers).then(result => {
      session.observe(result);
      onAnswer(questionOf(result));
      const job = operation?.operation === OperationTypeNode.MUTATION && startedJob(result);
      if (job) onJobStarted(job);
      return result;
    });
  };
}

/** The schema is public as SDL, also where introspection is switched off. */
async function publishedSchema(): Promise<ExecutionResult> {
  const response = await fetch('/schema.graphql');
  if (!response.ok) throw new Error(`/schema.graphql answered ${response.status} ${response.statusText}`);
  return { data: { ...introspectionFromSchema(buildSchema(await response.text())) } };
}

/**
 * The operation to run. GraphiQL tells the name 100 ms after an edit or a change of tab, so a document with one
 * operation names it itself. A document that does not parse goes to the server, which says why better than we could.
 */
function operationOf({ query, operationName }: FetcherParams): OperationDefinitionNode | undefined {
  try {
    const operations = parse(query).definitions.filter(definition => definition.kind === 'OperationDefinition');
    return operations.length === 1 ? operations[0] : operations.find(({ name }) => name?.value === operationName);
  } catch {
    return undefined;
  }
}

/** Sends with a token that is fresh; headers that a person wrote win over ours. */
async function send(session: Session, request: FetcherParams, headers?: Record<string, string>): Promise<ExecutionResult> {
  const result = await post(request, { ...(await session.headers()), ...headers });
  if (!(await session.recover(result))) return result;
  return post(request, { ...(await session.headers()), ...headers });
}

/**
 * A socket that opens with the first subscription and closes with the last. A token renewed meanwhile goes over it
 * as the payload of a ping, so that the stream outlives the token it began with.
 */
function connect(session: Session): Client {
  const url = new URL(GRAPHQL_PATH, location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  let open: WebSocket | null = null;
  session.subscribe(() => {
    const token = session.accessToken();
    if (token && open?.readyState === WebSocket.OPEN) open.send(JSON.stringify({ type: MessageType.Ping, payload: authorization(token) }));
  });
  return createClient({
    url: url.href,
    connectionParams: async () => {
      await session.headers();
      return authorization(session.accessToken());
    },
    on: {
      connected: socket => {
        open = socket as WebSocket;
      },
      closed: () => {
        open = null;
      },
    },
  });
}

function authorization(token: string | null): Record<string, string> {
  const { Authorization } = bearer(token);
  return Authorization ? { authorization: Authorization } : {};
}

function stream(socket: Client, request: FetcherParams): AsyncIterable<ExecutionResult> {
  const events = socket.iterate(request) as AsyncIterableIterator<ExecutionResult>;
  const next = () =>
    events.next().catch(reason => {
      throw explain(reason);
    });
  return { [Symbol.asyncIterator]: () => ({ next, return: () => events.return!() }) };
}

/** A CloseEvent prints as `{}`, and a list of errors is best shown as the answer it stands for. */
function explain(reason: unknown): unknown {
  if (reason instanceof CloseEvent) return new Error(`The server closed the stream: ${reason.code} ${reason.reason}`);
  if (reason instanceof Event) return new Error('The socket to the server could not be opened.');
  return reason;
}

function startedJob(result: ExecutionResult): string | null {
  for (const payload of Object.values(result.data ?? {})) {
    const id = (payload as { job?: { id?: unknown } | null } | null)?.job?.id;
    if (typeof id === 'string') return id;
  }
  return null;
}
