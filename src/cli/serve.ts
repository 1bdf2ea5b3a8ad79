// `coatcheck serve`: runs a server until it is told to stop.

import { type Command, readWords } from "./command.ts";
import { endSoon, firstSignal } from "./signal.ts";

export const serve: Command = {
  help: `Runs a server until it is told to stop.

Usage: coatcheck serve [--config FILE] [--port N] [--host ADDRESS] [--no-work]

  --config FILE    The configuration; by default coatcheck.config.ts (or .mts, .js, .mjs, .json) here.
  --port N         Overrides the configuration and PORT; 0 takes a free one. Default 2020.
  --host ADDRESS   Overrides the configuration and HOST. Default 127.0.0.1. Other addresses
                   than loopback need API keys or JWTs.
  --no-work        Only serves: jobs are accepted and followed here, and worked by \`coatcheck work\`.

SIGTERM and Ctrl-C end it in order: running attempts get their time to stop, and what is left is tried
again at the next start. A second one ends it at once.

Every option of the configuration, and its variable: docs/reference/configuration.md`,
  async run(words) {
    const { values } = readWords(words, {
      config: { type: "string" },
      port: { type: "string" },
      host: { type: "string" },
      "no-work": { type: "boolean" },
    });
    const { loadConfig } = await import("../server/config.ts");
    const config = await loadConfig({
      file: values.config,
      flags: {
        port: values.port,
        host: values.host,
        work: values["no-work"] === true ? "false" : undefined,
      },
    });
    // Nothing of a server is loaded before the configuration is known to be good.
    const { startServer } = await import("../server/server.ts");
    const signaled = firstSignal();
    const server = await startServer(config);
    await signaled;
    await server.close();
    endSoon();
    return 0;
  },
};
