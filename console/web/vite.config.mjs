import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import { defineConfig } from 'vite';

// The ninth byte of a gzip header names the system that packed it (RFC 1952 §2.3.1); 255 says "unknown",
// so that every system writes the same bytes. Node leaves the time of modification at 0.
const GZIP_SYSTEM_BYTE = 9;
const GZIP_SYSTEM_UNKNOWN = 255;

/** Replaces every file of the build by its gzip form: the server sends these bytes as they are. */
function gzipOnly() {
  let outDir;
  return {
    name: 'gzip-only',
    apply: 'build',
    configResolved(config) {
      outDir = join(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const entry of readdirSync(outDir, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || entry.name.endsWith('.gz')) continue;
        const file = join(entry.parentPath, entry.name);
        const packed = gzipSync(readFileSync(file), { level: constants.Z_BEST_COMPRESSION });
        packed[GZIP_SYSTEM_BYTE] = GZIP_SYSTEM_UNKNOWN;
        writeFileSync(`${file}.gz`, packed);
        rmSync(file);
      }
    },
  };
}

export default defineConfig({
  base: '/explorer/',
  plugins: [gzipOnly()],
  worker: { format: 'es' },
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    license: { fileName: 'licenses.md' },
    modulePreload: { polyfill: false },
    // One chunk is Monaco, and is as large as Monaco is.
    chunkSizeWarningLimit: 5000,
    rolldownOptions: {
      onLog(level, log, report) {
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') report(level, log); // "use client" speaks to servers that render React
      },
    },
  },
  // npm run dev: the page from Vite, the API from a server on its default address.
  server: { proxy: { '/graphql': { target: 'http://127.0.0.1:8080', ws: true }, '/schema.graphql': 'http://127.0.0.1:8080' } },
});
