// `coatcheck work`: works, without serving, until it is told to stop.

import { type Command, readWords } from "./command.ts";
import { endSoon, firstSignal } from "./signal.ts";

export const work: Command = {
  help: `Works on the jobs of a store that others serve, until it is told to stop. As many as are wanted may run.

Usage: coatcheck work [--config FILE] [--concurrency N] [--health-port N]

  --config FILE      The configuration, the same as the servers'; by default coatcheck.config.ts (or .mts,
                     .js, .mjs, .json) here.
  --concurrency N    Most attempts at once, over all operations. Overrides the configuration and
                     COATCHECK_CONCURRENCY. Default: what the operations' own bounds add up to.
  --health-port N    Answers /health/live and /health/ready there, on the configuration's host; 0 takes a
                     free port. Overrides the configuration and COATCHECK_HEALTH_PORT. Default: no port.

It needs the store and the folder of files that the servers have. SIGTERM and Ctrl-C end it in order: running
attempts get their time to stop, what is left is given back and counts as no failure. A second one ends it at
once.`,
  async run(words) {
    const { values } = readWords(words, {
      config: { type: "string" },
      concurrency: { type: "string" },
      "health-port": { type: "string" },
    });
    const { loadConfig } = await import("../server/config.ts");
    const flags = { concurrency: values.concurrency, healthPort: values["health-port"] };
    const config = await loadConfig({ file: values.config, use: "work", flags });
    const { startWorker } = await import("../server/work.ts");
    const signaled = firstSignal();
    const worker = await startWorker(config);
    await signaled;
    await worker.close();
    endSoon();
    return 0;
  },
};
