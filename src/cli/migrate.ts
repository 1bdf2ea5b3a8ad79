// `coatcheck migrate`: moves a store's jobs to another store.

import { type Command, readWords, UsageError } from "./command.ts";

export const migrate: Command = {
  help: `Moves everything that one store keeps to another one, which must be empty: jobs, keys, results and history, under
the same ids. URLs stay valid, and work goes on where it was.

Usage: coatcheck migrate --from STORE --to STORE

  --from STORE    Where the jobs are, such as sqlite:./data/coatcheck.db.
  --to STORE      Where they go, such as postgres://user:password@host:5432/database.

Stop the servers and workers of both first. What was interrupted goes on when it is run again. The source is left
as it is. Files (uploads, and results that are files) are not moved: give the new servers the same folder.`,
  async run(words) {
    const { values } = readWords(words, { from: { type: "string" }, to: { type: "string" } });
    if (values.from === undefined) throw new UsageError("Say where the jobs are: --from STORE.");
    if (values.to === undefined) throw new UsageError("Say where the jobs go: --to STORE.");
    const [{ migrate: move }, { readStoreUrl }] = await Promise.all([
      import("../server/migrate.ts"),
      import("../server/store-url.ts"),
    ]);
    check(() => readStoreUrl(values.from as string, "--from"));
    check(() => readStoreUrl(values.to as string, "--to"));
    const tell = progress();
    const moved = await move({ from: values.from, to: values.to, onProgress: tell });
    process.stdout.write(`${moved.jobs} jobs are in ${moved.to} now; ${moved.from} is as it was.\n`);
    if (moved.files !== null)
      process.stdout.write(
        `Files stay where they are (${moved.files}, unless your configuration names a folder): give the new servers that folder.\n`,
      );
    return 0;
  },
};

function check(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

// A line that is written over on a terminal, and now and then a line elsewhere.
function progress(): (moved: number, jobs: number) => void {
  const { stderr } = process;
  let told = -1;
  return (moved, jobs) => {
    const percent = jobs === 0 ? 100 : Math.min(100, Math.floor((moved / jobs) * 100));
    if (stderr.isTTY) {
      stderr.write(`\r${moved} of ${jobs} jobs (${percent} %)${percent === 100 ? "\n" : ""}`);
    } else if (percent >= told + 10 || moved >= jobs) {
      told = percent;
      stderr.write(`${moved} of ${jobs} jobs (${percent} %)\n`);
    }
  };
}
