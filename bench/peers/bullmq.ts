// BullMQ alone, without a server.
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

/** Queues `jobs` empty jobs, then has one worker complete them, `concurrency` at once: jobs per second. */
export async function drain(
  redisUrl: string,
  prefix: string,
  jobs: number,
  concurrency: number,
): Promise<number> {
  const connection = () => new Redis(redisUrl, { maxRetriesPerRequest: null });
  const queue = new Queue("empty", { connection: connection(), prefix });
  const batch = Array.from({ length: 1_000 }, () => ({ name: "empty", data: { text: "x".repeat(188) } }));
  for (let added = 0; added < jobs; added += batch.length) {
    await queue.addBulk(batch.slice(0, Math.min(batch.length, jobs - added)));
  }
  const worker = new Worker("empty", async () => ({}), {
    connection: connection(),
    prefix,
    concurrency,
    autorun: false,
  });
  await worker.waitUntilReady();
  const begin = performance.now();
  await new Promise<void>((resolve) => {
    let completed = 0;
    worker.on("completed", () => {
      completed += 1;
      if (completed === jobs) resolve();
    });
    void worker.run();
  });
  const seconds = (performance.now() - begin) / 1_000;
  // The process ends with its answer: closing the connections would only delay it.
  return jobs / seconds;
}
