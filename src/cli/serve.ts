// `coatcheck serve`: runs a server until it is told to stop.

import { type Command, readWords } from "./command.ts";

export const serve: Command = {
  help: `Runs a server until it is told to stop.

Usage: coatcheck serve [--config FILE] [--port N] [--host ADDRESS]

  --config FILE    The configuration; by default coatcheck.config.ts (or .mts, .js, .mjs, .json) here.
  --port N         Overrides the configuration and PORT; 0 takes a free one. Default 2020.
  --host ADDRESS   Overrides the configuration and HOST. Default 127.0.0.1. Other addresses
                   than loopback need API keys or JWTs.

SIGTERM and Ctrl-C end it in order: running attempts get their time to stop, and what is left is tried
again at the next start. A second one ends it at once.

Every option of the configuration, and its variable: docs/reference/configuration.md`,
  async run(words) {
    const { values } = readWords(words, {
      config: { type: "string" },
      port: { type: "string" },
      host: { type: "string" },
    });
    const { loadConfig } = await import("../server/config.ts");
    const config = await loadConfig({ file: values.config, flags: { port: values.port, host: values.host } });
    // Nothing of a server is loaded before the configuration is known to be good.
    const { startServer } = await import("../server/server.ts");
    const signaled = firstSignal();
    const server = await startServer(config);
    await signaled;
    await server.close();
    // What a handler left behind must not keep a server alive that has ended.
    setTimeout(() => process.exit(0), 1000).unref();
    return 0;
  },
};

/** Resolves at the first signal to stop; the second ends the process. */
function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    const stop = () => {
      count += 1;
      if (count > 1) process.exit(1);
      resolve();
    };
    process.on("SIGTERM", stop).on("SIGINT", stop);
  });
}
