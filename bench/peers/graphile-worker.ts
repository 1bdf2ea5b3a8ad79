// graphile-worker at its best: jobs fetched and completed in batches.
import { makeWorkerUtils, run, runMigrations } from "graphile-worker";
import { Pool } from "pg";

/** Adds `jobs` empty jobs, then has one worker process complete them: jobs per second. */
export async function drain(url: string, jobs: number): Promise<number> {
  const pgPool = new Pool({ connectionString: url, max: 25 });
  await runMigrations({ pgPool });
  const utils = await makeWorkerUtils({ pgPool });
  const batch = 5_000;
  for (let added = 0; added < jobs; added += batch) {
    const size = Math.min(batch, jobs - added);
    await utils.addJobs(
      Array.from({ length: size }, () => ({ identifier: "empty", payload: { text: "x".repeat(188) } })),
    );
  }
  await pgPool.query("ANALYZE graphile_worker._private_jobs");
  let done = 0;
  let finish = () => {};
  const isDone = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const begin = performance.now();
  const runner = await run({
    pgPool,
    noHandleSignals: true,
    taskList: { empty: async () => {} },
    preset: {
      worker: {
        concurrentJobs: 100,
        localQueue: { size: 2_000 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  runner.events.on("job:success", () => {
    done += 1;
    if (done === jobs) finish();
  });
  await isDone;
  // What it completed lies in batches until they are written: so that both sides end with all of it kept.
  await runner.stop();
  return (jobs * 1_000) / (performance.now() - begin);
}
