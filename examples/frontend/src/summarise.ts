import type { Gatehouse } from './gatehouse.js';
import type { WatchJobSubscription } from './generated/graphql.js';
import { ProcessCsv, WatchJob } from './operations.js';

export type Summary = Extract<WatchJobSubscription['jobEvents']['job']['result'], { __typename: 'CsvSummary' }>;

/** Sends a CSV, shows how far the job is, and gives what the CSV holds. */
export async function summarise({ client }: Gatehouse, file: File, onProgress: (fraction: number) => void): Promise<Summary> {
  const { data, error } = await client.mutation(ProcessCsv, { input: { file } }).toPromise();
  if (error) throw error;
  const job = data?.processCsv.job;
  if (!job) throw new Error(data?.processCsv.userErrors.map(({ message }) => message).join(' '));
  return new Promise((resolve, reject) => {
    const watching = client.subscription(WatchJob, { id: job.id }).subscribe(({ data, error }) => {
      if (error) return reject(error);
      const { state, progress, result, error: failure } = data!.jobEvents.job;
      onProgress(progress.fraction ?? 0);
      if (!['SUCCEEDED', 'FAILED', 'CANCELLED'].includes(state)) return;
      if (result?.__typename === 'CsvSummary') resolve(result);
      else reject(new Error(failure?.message ?? state));
      queueMicrotask(() => watching.unsubscribe());
    });
  });
}
