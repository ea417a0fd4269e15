import { graphql } from './generated/gql.js';

export const Register = graphql(`
  mutation Register($input: RegisterInput!) {
    register(input: $input) {
      outcome { __typename ...Tokens }
      userErrors { code field message }
    }
  }
`);

export const Login = graphql(`
  mutation Login($input: LoginInput!) {
    login(input: $input) {
      outcome { __typename ...Tokens }
      userErrors { code field message }
    }
  }
`);

export const RefreshSession = graphql(`
  mutation RefreshSession($input: RefreshSessionInput!) {
    refreshSession(input: $input) {
      outcome { __typename ...Tokens }
      userErrors { code message }
    }
  }
`);

export const Tokens = graphql(`
  fragment Tokens on SessionTokens {
    accessToken
    accessTokenExpiresAt
    refreshToken
  }
`);

export const Me = graphql(`
  query Me {
    me { id email createdAt }
  }
`);

export const MyJobs = graphql(`
  query MyJobs($first: Int, $after: String) {
    jobs(first: $first, after: $after) {
      nodes { id kind state input createdAt }
      pageInfo { hasNextPage endCursor }
    }
  }
`);

export const ProcessCsv = graphql(`
  mutation ProcessCsv($input: ProcessCsvInput!) {
    processCsv(input: $input) {
      job { id state }
      userErrors { code field message }
    }
  }
`);

export const WatchJob = graphql(`
  subscription WatchJob($id: ID!, $after: Int) {
    jobEvents(id: $id, after: $after) {
      sequence
      type
      job {
        id
        state
        progress { fraction stage }
        error { code message }
        result {
          __typename
          ... on CsvSummary {
            rows
            badRows
            columns { name type min max }
          }
        }
      }
    }
  }
`);
