// A real OpenID Connect provider on loopback, for the tests of login/oauth.
//
//   PORT=0 node index.js        # prints its issuer on one line once it listens
//
// PORT         where it listens; 0, the default, takes a free port
// REDIRECT_URI where its clients send people back to, several with commas between
// USERINFO     1: the ID token has no claims about the person, UserInfo does
// TELL         1: each grant is printed as a line of JSON, with its tokens and the verifier that was shown
//
// People need no password; the field "login" of the form says who they are:
//   alice           an address that is verified
//   bob-unverified  an address that is not
//   carol-noemail   no address
// The form also takes cancel=1. POST /clock?seconds=N moves the provider's clock ahead, GET /clock tells
// by how much it is ahead, POST /rotate gives it another signing key.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import http from 'node:http'
import { Provider } from 'oidc-provider'

const redirectURIs = (process.env.REDIRECT_URI || 'http://127.0.0.1:8080/oauth/callback/test').split(',')

let ahead = 0 // milliseconds
const clock = Date.now
Date.now = () => clock() + ahead

const signingKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomUUID(), use: 'sig', alg: 'RS256',
})

const person = (id) => {
  const claims = { sub: id, name: `${id} of the test`, preferred_username: id }
  if (id !== 'carol-noemail') {
    claims.email = `${id}@example.test`
    claims.email_verified = id !== 'bob-unverified'
  }
  return claims
}

const clients = [
  { client_id: 'confidential', client_secret: 'a-secret-of-the-tests', token_endpoint_auth_method: 'client_secret_basic' },
  { client_id: 'posting', client_secret: 'a-secret-of-the-tests', token_endpoint_auth_method: 'client_secret_post' },
  { client_id: 'public', token_endpoint_auth_method: 'none' },
].map((client) => ({
  ...client,
  grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], redirect_uris: redirectURIs,
}))

const makeProvider = (issuer) => new Provider(issuer, {
  clients,
  jwks: { keys: [signingKey()] },
  cookies: { keys: ['a-cookie-key-of-the-tests'] },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
  conformIdTokenClaims: process.env.USERINFO === '1',
  findAccount: (_, id) => ({ accountId: id, claims: async () => person(id) }),
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: async (_, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 600, RefreshToken: 86400, Session: 3600 },
  renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out },
})

const form = '<!doctype html><title>Test provider</title><form method=post>' +
  '<input name=login value=alice> <button>Sign in</button> <button name=cancel value=1>Cancel</button></form>'

async function read(request) {
  let body = ''
  for await (const chunk of request) body += chunk
  return new URLSearchParams(body)
}

async function signIn(provider, request, response, login) {
  const { params } = await provider.interactionDetails(request, response)
  const grant = new provider.Grant({ accountId: login, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  await provider.interactionFinished(request, response, { login: { accountId: login }, consent: { grantId: await grant.save() } })
}

let provider, answer
async function interact(request, response) {
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html; charset=utf-8').end(form)
    return
  }
  const fields = await read(request)
  if (fields.get('cancel')) {
    await provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'the person said no' })
    return
  }
  await signIn(provider, request, response, fields.get('login'))
}

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://127.0.0.1')
  try {
    if (url.pathname === '/clock') {
      if (request.method === 'POST') ahead += Number(url.searchParams.get('seconds')) * 1000
      response.end(String(ahead / 1000))
    } else if (url.pathname === '/rotate' && request.method === 'POST') {
      start(provider.issuer)
      response.end()
    } else if (url.pathname.startsWith('/interaction/')) {
      await interact(request, response)
    } else {
      answer(request, response)
    }
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
})

// start makes a provider with a new key; codes and grants live in the library's store and survive.
function start(issuer) {
  provider = makeProvider(issuer)
  if (process.env.TELL === '1') {
    provider.on('grant.success', (ctx) => console.log(JSON.stringify({ ...ctx.body, code_verifier: ctx.oidc.params.code_verifier })))
  }
  answer = provider.callback()
}

server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  start(issuer)
  console.log(issuer)
})
