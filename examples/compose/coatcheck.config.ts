// The configuration of `compose.yaml`, for its servers and its workers: one operation that needs nothing else.

import { setTimeout as sleep } from "node:timers/promises";
import { defineConfig, defineOperation } from "coatcheck";

const nap = defineOperation({
  name: "nap",
  title: "Sleep for a while",
  input: {
    type: "object",
    properties: { seconds: { type: "integer", minimum: 1, maximum: 3600, default: 10 } },
  },
  output: { type: "object", properties: { slept: { type: "integer" } }, required: ["slept"] },
});

export default defineConfig({
  operations: [
    {
      operation: nap,
      handler: async (input, attempt) => {
        const { seconds = 10 } = input as { readonly seconds?: number };
        for (let slept = 0; slept < seconds; slept++) {
          await sleep(1000, undefined, { signal: attempt.signal });
          attempt.progress((100 * (slept + 1)) / seconds, `Slept for ${slept + 1} s`);
        }
        return { slept: seconds };
      },
    },
  ],
});
