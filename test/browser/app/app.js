// What a page of an app does to sign a person in through a provider: in either way that the provider's answer can
// take, with tokens of its own or with cookies.
const API = 'http://localhost:8080/graphql';
const KEPT = 'sign-in'; // in sessionStorage, while the browser is at the provider

const START = 'mutation($in: StartOAuthInput!) { startOAuth(input: $in) { authorizationUrl flowId userErrors { code } } }';
const COMPLETE = `mutation($in: CompleteOAuthInput!) { completeOAuth(input: $in) {
  outcome { __typename ... on SessionTokens { accessToken refreshToken } } userErrors { code } } }`;

const says = document.querySelector('output');
document.querySelector('form').addEventListener('submit', event => {
  event.preventDefault();
  const { mode, answer } = Object.fromEntries(new FormData(event.target));
  start(mode, answer).catch(fail);
});
come().catch(fail);

async function start(mode, answer) {
  const verifier = mode === 'bearer' ? base64url(crypto.getRandomValues(new Uint8Array(32))) : undefined;
  const { startOAuth } = await ask(mode, START, {
    provider: 'peer',
    redirectTo: location.origin + (answer === 'page' ? '/from-provider' : '/signed-in'),
    clientChallenge: verifier && base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))),
  });
  if (!startOAuth.authorizationUrl) return fail(startOAuth.userErrors[0].code);
  sessionStorage.setItem(KEPT, JSON.stringify({ mode, verifier, flowId: startOAuth.flowId }));
  location.assign(startOAuth.authorizationUrl);
}

/** Goes on with a sign-in when the browser comes back from one. */
async function come() {
  const parameters = Object.fromEntries(new URLSearchParams(location.search));
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
  sessionStorage.removeItem(KEPT);
  if (!kept || location.search === '') return;
  history.replaceState(null, '', location.pathname); // codes are good once; the address bar is no place for them
  const { mode, verifier, flowId } = kept;
  const { state, code, iss, error, exchangeCode } = parameters;
  if (!state && !exchangeCode) return fail(error); // the server has told why
  const { completeOAuth } = await ask(mode, COMPLETE, { flowId, state, code, iss, error, exchangeCode, clientVerifier: verifier });
  if (!completeOAuth.outcome) return fail(completeOAuth.userErrors[0].code);
  const { me } = await ask(mode, '{ me { email } }', undefined, completeOAuth.outcome.accessToken);
  says.textContent = `Signed in as ${me.email}`;
}

function fail(reason) {
  says.textContent = `Not signed in: ${reason}`;
}

async function ask(mode, query, input, token) {
  const headers = { 'Content-Type': 'application/json' };
  if (mode === 'cookie') headers['Gatehouse-Session'] = 'cookie';
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(API, {
    method: 'POST',
    credentials: mode === 'cookie' ? 'include' : 'omit',
    headers,
    body: JSON.stringify({ query, variables: { in: input } }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
