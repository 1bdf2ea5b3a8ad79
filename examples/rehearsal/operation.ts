// The operation `rehearsal`: stand-in work, for people who try an API before their own work is ready.

import { defineOperation } from "coatcheck";
import { z } from "zod";

export const rehearsal = defineOperation({
  name: "rehearsal",
  path: "/operations/rehearsal",
  title: "Rehearse a slow operation",
  description:
    "Sleeps in steps and then ends in the way that the caller asked for: well, badly, or not at all.",
  input: z.object({
    seconds: z.number().min(0).max(3600).default(2).describe("How long the work takes."),
    steps: z.int().min(1).max(10_000).default(10).describe("How often it reports progress."),
    outcome: z
      .enum(["complete", "fail", "fail-final", "crash", "hang"])
      .default("complete")
      .describe(
        "How it ends: fail is tried again, fail-final is not, crash exits its process, hang never ends.",
      ),
    resultBytes: z
      .int()
      .min(0)
      .max(10_000_000)
      .default(1000)
      .describe("How many bytes of text it gives back."),
  }),
  output: z.object({ slept: z.number(), text: z.string() }),
  // The longest rehearsal takes an hour of sleep.
  timeout: "65m",
});
