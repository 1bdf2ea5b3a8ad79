// `coatcheck openapi`: prints the OpenAPI document that the server would serve.

import { VERSION } from "../version.ts";
import { type Command, readWords } from "./command.ts";

export const openapi: Command = {
  help: `Prints the OpenAPI 3.1 document that a server of this configuration serves at /openapi.json.

Usage: coatcheck openapi [--config FILE]

  --config FILE    The configuration; by default coatcheck.config.ts (or .mts, .js, .mjs, .json) here.`,
  async run(words) {
    const { values } = readWords(words, { config: { type: "string" } });
    const [{ loadConfig }, { readyOperations }, { openapi: documentOf }] = await Promise.all([
      import("../server/config.ts"),
      import("../core/operations.ts"),
      import("../http/openapi.ts"),
    ]);
    const config = await loadConfig({ file: values.config });
    const host = config.host.includes(":") ? `[${config.host}]` : config.host;
    const document = documentOf({
      operations: readyOperations(config.operations.map(({ operation }) => operation)),
      publicUrl: config.publicUrl ?? `http://${host}:${config.port}`,
      access: config.access.kind,
      version: VERSION,
    });
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};
