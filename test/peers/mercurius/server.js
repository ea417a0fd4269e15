// The part of Gatehouse's schema that is measured, served by Mercurius with its compiler (jit) on.
//
//   node server.js sqlite    # jobs from better-sqlite3; owners, like Gatehouse's, from memory
//   node server.js memory    # jobs from an array, already in order
//
// The access token is EdDSA as Gatehouse's; what was verified is kept, as there. It listens on a free
// loopback port and says which one, and with which token it is to be called.
import { generateKeyPairSync } from 'node:crypto'
import fastify from 'fastify'
import jwt from '@fastify/jwt'
import mercurius from 'mercurius'

const schema = `
  enum Role { USER DEVELOPER ADMIN }
  enum JobState { SCHEDULED QUEUED RUNNING RETRYING SUCCEEDED FAILED CANCELLED }
  type User {
    id: ID!
    email: String!
    emailVerified: Boolean!
    name: String
    locale: String!
    roles: [Role!]!
    createdAt: String!
  }
  type JobProgress { done: Float! total: Float! fraction: Float stage: String! }
  type Job {
    id: ID!
    kind: String!
    queue: String!
    state: JobState!
    progress: JobProgress!
    owner: User
    createdAt: String!
  }
  type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! }
  type JobConnection { nodes: [Job!]! pageInfo: PageInfo! }
  type Query {
    me: User
    jobs(first: Int): JobConnection
  }
`

const ada = {
  id: 'usr_06h0k54m55yk38fry0e74yrkkm', email: 'ada@example.com', emailVerified: false, name: null, locale: 'en',
  roles: ['USER'], createdAt: '2026-01-31T09:30:00.123456Z'
}
const users = new Map([[ada.id, ada]])

const rows = Array.from({ length: 200 }, (_, i) => ({
  id: 'job_06h0k54m55yk38fry0e74yr' + String(1000 - i), owner_id: ada.id, kind: 'processCsv', queue: 'default',
  state: 'SUCCEEDED', progress_done: 42, progress_total: 42, progress_stage: 'done',
  created_at: new Date(1.77e12 - i * 1000).toISOString()
}))

async function newestJobs (store) {
  if (store === 'memory') return (owner, count) => rows.slice(0, count)
  const { default: Database } = await import('better-sqlite3')
  const db = new Database(':memory:')
  db.exec(`CREATE TABLE jobs (id TEXT PRIMARY KEY, owner_id TEXT, kind TEXT, queue TEXT, state TEXT,
      progress_done INTEGER, progress_total INTEGER, progress_stage TEXT, created_at TEXT);
    CREATE INDEX by_owner ON jobs (owner_id, created_at DESC, id DESC)`)
  const insert = db.prepare(`INSERT INTO jobs VALUES (@id, @owner_id, @kind, @queue, @state,
    @progress_done, @progress_total, @progress_stage, @created_at)`)
  for (const row of rows) insert.run(row)
  const select = db.prepare('SELECT * FROM jobs WHERE owner_id = ? ORDER BY created_at DESC, id DESC LIMIT ?')
  return (owner, count) => select.all(owner, count)
}

const store = process.argv[2]
const newest = await newestJobs(store)

const resolvers = {
  Query: {
    me: (_, __, { user }) => user ?? null,
    jobs: (_, { first = 20 }, { user }) => {
      if (!user) throw new mercurius.ErrorWithProps('Sign in first.', { code: 'UNAUTHENTICATED' })
      const found = newest(user.id, first + 1)
      return {
        nodes: found.slice(0, first),
        pageInfo: { hasNextPage: found.length > first, hasPreviousPage: false }
      }
    }
  },
  Job: {
    createdAt: job => job.created_at,
    progress: job => ({ done: job.progress_done, total: job.progress_total, stage: job.progress_stage })
  },
  JobProgress: { fraction: p => (p.total > 0 ? p.done / p.total : null) }
}

const loaders = {
  Job: { owner: async queries => queries.map(({ obj }) => users.get(obj.owner_id) ?? null) }
}

const app = fastify()
const { privateKey, publicKey } = generateKeyPairSync('ed25519', {
  publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' }
})
await app.register(jwt, {
  secret: { private: privateKey, public: publicKey },
  sign: { algorithm: 'EdDSA', iss: 'peer', aud: 'gatehouse', expiresIn: '1h' },
  verify: { algorithms: ['EdDSA'], allowedIss: 'peer', allowedAud: 'gatehouse', cache: true }
})
await app.register(mercurius, {
  schema, resolvers, loaders, jit: 1, queryDepth: 10,
  context: async request => {
    if (!request.headers.authorization) return {}
    const claims = await request.jwtVerify()
    return { user: users.get(claims.sub) }
  }
})
console.log('token ' + app.jwt.sign({ sub: ada.id }))
console.log(`peer Mercurius ${(await import('mercurius/package.json', { with: { type: 'json' } })).default.version}, Node ${process.versions.node}`)
console.log('listening at ' + await app.listen({ port: 0, host: '127.0.0.1' }))
