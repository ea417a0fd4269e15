// Checks a running Gatehouse server with the clients that people use.
//
//   BASE_URL=http://127.0.0.1:8080 npm test            # all of them
//   BASE_URL=http://127.0.0.1:8080 npm test -- socket  # checks/socket.test.mjs alone
//
// It needs `npm ci` and nothing else, makes accounts of its own, leaves the server as it was but for those, and ends
// non-zero when any check fails. The frontend example is built in .generated beside this file.
import { readdirSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const FILE_TIMEOUT_MS = 240_000;

const folder = new URL('checks/', import.meta.url);
const wanted = process.argv.slice(2);
const files = readdirSync(folder)
  .filter(name => name.endsWith('.test.mjs'))
  .filter(name => wanted.length === 0 || wanted.some(word => name.startsWith(word)))
  .map(name => new URL(name, folder).pathname);
if (files.length === 0) throw new Error(`no check is called ${wanted.join(' or ')}`);

run({ files, concurrency: 1, timeout: FILE_TIMEOUT_MS })
  .on('test:fail', () => {
    process.exitCode = 1;
  })
  .compose(spec)
  .pipe(process.stdout);
