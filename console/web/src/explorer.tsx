import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { GraphiQL } from 'graphiql';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { drafts, startingTab } from './drafts';
import { createFetcher, SCHEMA_QUERY } from './fetcher';
import { GRAPHQL_PATH } from './http';
import { whoAreYou, type Question } from './questions';
import type { Holder, Session } from './session';
import { exampleTabs, watchesJob, withJobId } from './tabs';

const plugins = [HISTORY_PLUGIN];

/** GraphiQL under a bar that says who is signed in. */
export function Explorer({ session }: { session: Session }) {
  const [startedJob, setStartedJob] = useState<string | null>(null);
  const [asked, setAsked] = useState<Question | null>(null);
  const [taken, setTaken] = useState<Question | null>(null);
  const [fetcher] = useState(() => createFetcher(session, { onJobStarted: setStartedJob, onAnswer: setAsked }));
  const [start] = useState(startingTab);
  return (
    <>
      <Bar session={session} asked={asked} onTaken={setTaken} />
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
          <TabOfQuestion question={taken} onOpened={() => setTaken(null)} />
        </GraphiQL>
      </main>
    </>
  );
}

interface BarProps {
  session: Session;
  /** What the last answer asks for. */
  asked: Question | null;
  /** Hears when the person wants to answer a question. */
  onTaken(question: Question): void;
}

function Bar({ session, asked, onTaken }: BarProps) {
  const holder = useSyncExternalStore(session.subscribe, session.holder);
  const question = asked ?? (holder?.suspended ? whoAreYou : null);
  return (
    <header className="bar">
      <a className="bar-name" href="/">
        Gatehouse
      </a>
      <span className="bar-endpoint" title="Queries and mutations by POST, subscriptions by WebSocket">
        {location.origin}
        {GRAPHQL_PATH}
      </span>
      <span className="bar-person" role="status" data-signed-in={holder !== null && !holder.suspended}>
        {described(holder)}
      </span>
      {question && (
        <button type="button" className="bar-button bar-question" onClick={() => onTaken(question)}>
          {question.label}
        </button>
      )}
      {holder && (
        <button type="button" className="bar-button" onClick={() => void session.signOut()}>
          {holder.impersonation ? 'Stop acting' : 'Sign out'}
        </button>
      )}
    </header>
  );
}

function described(holder: Holder | null): string {
  if (!holder) return 'Not signed in: run Register or LogIn';
  const { email, impersonation, suspended } = holder;
  if (suspended) return `${email ?? 'Your session'}: suspended`;
  if (impersonation) return `Acting as ${email}`;
  return email ?? 'Signed in';
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

/** Opens the tab that answers a question, with its variables filled in; a tab of that name is used again. */
function TabOfQuestion({ question, onOpened }: { question: Question | null; onOpened(): void }) {
  const { tabs, queryEditor, variableEditor } = useGraphiQL(state => ({
    tabs: state.tabs,
    queryEditor: state.queryEditor,
    variableEditor: state.variableEditor,
  }));
  const { addTab, changeTab } = useGraphiQLActions();
  useEffect(() => {
    if (!question || !queryEditor || !variableEditor) return;
    const open = tabs.findIndex(({ title }) => title === question.tab);
    if (open < 0) addTab();
    else changeTab(open);
    queryEditor.setValue(question.query);
    variableEditor.setValue(question.variables);
    onOpened();
  }, [question, tabs, queryEditor, variableEditor, addTab, changeTab, onOpened]);
  return null;
}
