import 'graphiql/setup-workers/vite';
import '@graphiql/react/style.css';
import '@graphiql/plugin-doc-explorer/style.css';
import '@graphiql/plugin-history/style.css';
import 'graphiql/graphiql.css';
import './explorer.css';
import { createRoot } from 'react-dom/client';
import { Explorer } from './explorer';
import { Session, tabKeep } from './session';

const session = new Session(tabKeep);
addEventListener('pagehide', () => session.suspend());
addEventListener('pageshow', event => {
  if (event.persisted) session.resume(); // back from the browser's cache: another load may have taken the tokens
});

createRoot(document.getElementById('explorer')!).render(<Explorer session={session} />);
