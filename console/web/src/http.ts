import type { ExecutionResult } from 'graphql';

export const GRAPHQL_PATH = '/graphql';

export interface GraphQLRequest {
  query: string;
  variables?: Record<string, unknown> | null;
  operationName?: string | null;
}

/**
 * Posts one operation to the server the page came from. It throws when the server cannot be reached or its
 * answer is not JSON; GraphQL errors are part of the result.
 */
export async function post(request: GraphQLRequest, headers: Record<string, string> = {}): Promise<ExecutionResult> {
  const response = await fetch(GRAPHQL_PATH, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Accept: 'application/graphql-response+json, application/json;q=0.9',
      // A foreign page cannot send this header unasked, so the server knows that no form was posted (CSRF).
      'GraphQL-Require-Preflight': '1',
      ...headers,
    },
    body: JSON.stringify(request),
  });
  const text = await response.text();
  try {
    return JSON.parse(text) as ExecutionResult;
  } catch {
    throw new Error(`The server answered ${response.status} ${response.statusText}: ${text.slice(0, 500)}`);
  }
}

/** The `extensions.code` of each error in a result. */
export function errorCodes(result: ExecutionResult): unknown[] {
  return (result.errors ?? []).map(error => error.extensions?.code);
}
