// pg-boss at its best: fetched and completed by thousands, one batch after the other.
import PgBoss from "pg-boss";

/** Adds `jobs` empty jobs, then completes them `batchSize` at a time: jobs per second. */
export async function drain(url: string, jobs: number, batchSize: number): Promise<number> {
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  boss.on("error", (error) => {
    throw error;
  });
  await boss.start();
  await boss.createQueue("empty");
  const batch = 5_000;
  for (let added = 0; added < jobs; added += batch) {
    const size = Math.min(batch, jobs - added);
    await boss.insert(
      Array.from({ length: size }, () => ({ name: "empty", data: { text: "x".repeat(188) } })),
    );
  }
  const begin = performance.now();
  for (let done = 0; done < jobs; ) {
    const fetched = await boss.fetch("empty", { batchSize });
    if (fetched.length === 0) throw new Error("pg-boss found nothing to do.");
    await boss.complete(
      "empty",
      fetched.map(({ id }) => id),
    );
    done += fetched.length;
  }
  return (jobs * 1_000) / (performance.now() - begin);
}
