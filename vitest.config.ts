// How the tests run: TypeScript as it is, in processes, two at once.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^coatcheck$/, replacement: source("./src/index.ts") },
      { find: /^coatcheck\/testing$/, replacement: source("./src/testing/index.ts") },
      { find: /^coatcheck\/webhooks$/, replacement: source("./src/client/webhooks.ts") },
    ],
  },
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts", "examples/**/*.test.ts"],
    pool: "forks",
    // Threads and child processes that a test starts load TypeScript by the same loader as `npm start` does.
    execArgv: ["--import", source("./scripts/typescript.js")],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
