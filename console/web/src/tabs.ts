import logIn from './operations/log-in.graphql?raw';
import me from './operations/me.graphql?raw';
import myJobs from './operations/my-jobs.graphql?raw';
import processCsv from './operations/process-csv.graphql?raw';
import register from './operations/register.graphql?raw';
import watchTheJob from './operations/watch-the-job.graphql?raw';

/** Given away in the examples, so no secret, and not blanked in stored drafts. */
export const EXAMPLE_PASSWORD = 'violet-kettle-orbit-27';

const EXAMPLE_EMAIL = 'ada@example.com';

const EXAMPLE_CSV = `city,visitors,opened
Vienna,1204,2019-05-04
Lima,877,2021-11-20
Oslo,,2023-02-14
`;

/** The tabs of a first visit: from an account to a finished job. GraphiQL calls a tab what its operation is called. */
export const exampleTabs = [
  { query: register, variables: pretty({ input: { email: EXAMPLE_EMAIL, password: EXAMPLE_PASSWORD, name: 'Ada' } }) },
  { query: logIn, variables: pretty({ input: { email: EXAMPLE_EMAIL, password: EXAMPLE_PASSWORD } }) },
  { query: me },
  { query: processCsv, variables: pretty({ input: { text: EXAMPLE_CSV, hasHeader: true } }) },
  { query: watchTheJob, variables: pretty({ id: '' }) },
  { query: myJobs, variables: pretty({ first: 10 }) },
];

/** Whether a tab watches a job, and so wants the id of the one started last. */
export function watchesJob(query: string): boolean {
  return /\bjobEvents\s*\(\s*id\s*:\s*\$id\b/.test(query);
}

/** The variables of a tab with the job's id in them; other variables stay as they are. */
export function withJobId(variables: string, id: string): string {
  try {
    return pretty({ ...(JSON.parse(variables || '{}') as object), id });
  } catch {
    return pretty({ id });
  }
}

/** JSON as the variables of a tab show it. */
export function pretty(value: object): string {
  return JSON.stringify(value, null, 2);
}
