import type { CodegenConfig } from '@graphql-codegen/cli';

/** Types for every operation under src, from a running server or from a file that `gatehouse schema` wrote. */
const config: CodegenConfig = {
  schema: process.env.GATEHOUSE_SCHEMA ?? 'http://127.0.0.1:8080/schema.graphql',
  documents: ['src/**/*.{ts,tsx}', '!src/generated/**'],
  generates: {
    'src/generated/': {
      preset: 'client',
      presetConfig: {
        fragmentMasking: false,
      },
      config: {
        enumType: 'string-literal',
        importExtension: '.js',
        strictScalars: true,
        useTypeImports: true,
        scalars: {
          Time: 'string', // RFC 3339, in UTC
          Long: 'number', // 0 to 2^53, which a number holds exactly
          JSON: 'unknown',
          Upload: 'File',
        },
      },
    },
  },
};

export default config;
