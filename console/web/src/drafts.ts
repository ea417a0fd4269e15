import { createLocalStorage } from '@graphiql/toolkit';
import { EXAMPLE_PASSWORD, exampleTabs } from './tabs';

// A name of our own: every GraphiQL that was ever opened on this host and port shares the default one.
const kept = createLocalStorage({ namespace: 'gatehouse-explorer' });

// A value behind a name that speaks of a secret, in JSON ("newPassword": "…") or in GraphQL (password: "…").
const SECRET = /(\w*(?:password|secret|token|code|challengeId)"?\s*:\s*")((?:[^"\\\n]|\\.)*)(?=")/gi;

/**
 * Tabs and history in localStorage, where they outlive the browser; what looks like a secret is blanked on the way
 * in. A hand-written header is not stored at all: GraphiQL leaves headers out unless told.
 */
export const drafts = { ...kept, clear: kept.clear, setItem, get length() { return kept.length; } };

function setItem(key: string, value: string) {
  kept.setItem(key, withoutSecrets(key, value));
}

/** GraphiQL stores bare texts (`graphiql:query`, `graphiql:variables`) and JSON that holds such texts. */
function withoutSecrets(key: string, value: string): string {
  if (key === 'graphiql:query' || key === 'graphiql:variables') return blank(value);
  try {
    return JSON.stringify(JSON.parse(value, (_, inner: unknown) => (typeof inner === 'string' ? blank(inner) : inner)));
  } catch {
    return value;
  }
}

function blank(text: string): string {
  return text.replace(SECRET, (whole, name: string, secret: string) => (secret === EXAMPLE_PASSWORD ? whole : name));
}

/**
 * Where GraphiQL begins: the tab that was open last, or the first example. It must be told the tab's texts beside
 * the tabs, or the first tab comes without variables.
 */
export function startingTab(): { query: string; variables: string } {
  const { tabs, activeTabIndex } = storedTabs() ?? { tabs: exampleTabs, activeTabIndex: 0 };
  const tab = tabs[activeTabIndex] ?? tabs[0];
  return { query: tab?.query ?? '', variables: tab?.variables ?? '' };
}

interface StoredTabs {
  tabs: { query?: string | null; variables?: string | null }[];
  activeTabIndex: number;
}

function storedTabs(): StoredTabs | null {
  try {
    const stored = JSON.parse(kept.getItem('graphiql:tabState') ?? 'null') as StoredTabs | null;
    return stored?.tabs.length ? stored : null;
  } catch {
    return null;
  }
}
