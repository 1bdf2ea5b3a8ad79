// How the tests run: TypeScript as it is, in processes, three at once (they wait as much as they work), the longest first.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Files that take a minute or more: begun last, they would run on when all else is done. */
const LONG = [
  /\/crash-\w+\.test\.ts$/,
  /\/model\.test\.ts$/,
  /\/(?:rolling|work|faults|mounting)\.test\.ts$/,
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = LONG.findIndex((long) => long.test(moduleId));
      return at === -1 ? LONG.length : at;
    };
    return [...(await super.sort(files))].sort((one, other) => place(one) - place(other));
  }
}

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
    setupFiles: [source("./test/patience.ts")],
    // Threads and child processes that a test starts load TypeScript by the same loader as `npm start` does.
    execArgv: ["--import", source("./scripts/typescript.js")],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
  },
});
