import type { ExecutionResult } from 'graphql';
import { errorCodes } from './http';
import stepUp from './operations/step-up.graphql?raw';
import verifyMfa from './operations/verify-mfa.graphql?raw';
import { pretty } from './tabs';

/** What the server wants to know before it goes on, and the tab that answers. */
export interface Question {
  /** The label of the button that opens the tab. */
  label: string;
  /** The tab's name, which is that of its operation. */
  tab: string;
  query: string;
  variables: string;
}

interface Challenge {
  id: string;
  methods: string[];
}

/** The question of a session that has shown too little, or that is suspended. */
export const whoAreYou: Question = { label: 'Prove who you are', tab: 'StepUp', query: stepUp, variables: '' };

/** The question that a result asks, if it does. */
export function questionOf(result: ExecutionResult): Question | null {
  const challenge = findChallenge(result.data);
  if (challenge) return answerTo(challenge);
  return errorCodes(result).includes('STEP_UP_REQUIRED') ? whoAreYou : null;
}

/** A tab to answer by the first method that is typed: a passkey takes a page of its own origin and a script. */
function answerTo({ id, methods }: Challenge): Question {
  const method = methods.find(name => name !== 'PASSKEY') ?? 'PASSKEY';
  return {
    label: 'Answer the challenge',
    tab: 'VerifyMfa',
    query: verifyMfa,
    variables: pretty({ input: { challengeId: id, method, code: '' } }),
  };
}

/** Looks for an `MfaChallenge` object anywhere in the data of a result. */
function findChallenge(data: unknown): Challenge | null {
  if (typeof data !== 'object' || data === null) return null;
  const { __typename, id, methods } = data as Record<string, unknown>;
  if (typeof id === 'string' && Array.isArray(methods) && (__typename ?? 'MfaChallenge') === 'MfaChallenge') {
    return { id, methods: methods as string[] };
  }
  for (const value of Object.values(data)) {
    const found = findChallenge(value);
    if (found) return found;
  }
  return null;
}
