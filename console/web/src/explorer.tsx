import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { GraphiQL } from 'graphiql';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { drafts, startingTab } from './drafts';
import { createFetcher, SCHEMA_QUERY } from './fetcher';
import { GRAPHQL_PATH } from './http';
import type { Session } from './session';
import { exampleTabs, watchesJob, withJobId } from './tabs';

const plugins = [HISTORY_PLUGIN];

/** GraphiQL under a bar that says who is signed in. */
export function Explorer({ session }: { session: Session }) {
  const [startedJob, setStartedJob] = useState<string | null>(null);
  const [fetcher] = useState(() => createFetcher(session, { onJobStarted: setStartedJob }));
  const [start] = useState(startingTab);
  return (
    <>
      <Bar session={session} />
      <main className="workbench">
        <GraphiQL
          fetcher={fetcher}
          storage={drafts}
          plugins={plugins}
          introspectionQueryName={SCHEMA_QUERY}
          defaultTabs={exampleTabs}
          initialQuery={start.query}
          initialVariables={start.variables}
          defaultEditorToolsVisibility="variables"
        >
          <GraphiQL.Logo>
            <span />
          </GraphiQL.Logo>
          <SystemTheme />
          <JobIdInWatchTab started={startedJob} onFilled={() => setStartedJob(null)} />
        </GraphiQL>
      </main>
    </>
  );
}

function Bar({ session }: { session: Session }) {
  const email = useSyncExternalStore(session.subscribe, session.email);
  return (
    <header className="bar">
      <a className="bar-name" href="/">
        Gatehouse
      </a>
      <span className="bar-endpoint" title="Queries and mutations by POST, subscriptions by WebSocket">
        {location.origin}
        {GRAPHQL_PATH}
      </span>
      <span className="bar-person" role="status" data-signed-in={email !== null}>
        {email === null ? 'Not signed in: run Register or LogIn' : email || 'Signed in'}
      </span>
      {email !== null && (
        <button type="button" className="bar-button" onClick={() => void session.signOut()}>
          Sign out
        </button>
      )}
    </header>
  );
}

/** Follows the system from light to dark and back, unless a person chose; GraphiQL asks the system only as it starts. */
function SystemTheme() {
  const theme = useGraphiQL(state => state.theme);
  const { setTheme } = useGraphiQLActions();
  useEffect(() => {
    if (theme !== null) return;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => setTheme(null);
    dark.addEventListener('change', follow);
    return () => dark.removeEventListener('change', follow);
  }, [theme, setTheme]);
  return null;
}

/** Puts the id of the job started last into the variables of a tab that watches one, as soon as it is open. */
function JobIdInWatchTab({ started, onFilled }: { started: string | null; onFilled(): void }) {
  const { query, editor } = useGraphiQL(state => ({
    query: state.tabs[state.activeTabIndex]?.query ?? '',
    editor: state.variableEditor,
  }));
  useEffect(() => {
    if (!started || !editor || !watchesJob(query)) return;
    editor.setValue(withJobId(editor.getValue(), started));
    onFilled();
  }, [started, editor, query, onFilled]);
  return null;
}
