import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { build } from "./build.ts";
import { runCrash } from "./harness.ts";

const M: Record<string, [string, [string | RegExp, string][], number, never[]]> = {
  held: [
    "store/sqlite/../embedded/embedded.js",
    [
      ["job?.attempt !== attempt", "job === undefined"],
      ['{ do: "heartbeat", attempt }', '{ do: "heartbeat", attempt: job.attempt }'],
      ["this.#held.get(job.row) === job.attempt", "false"],
    ],
    2,
    [["late settle", 0]] as never,
  ],
  fence: [
    "core/machine.js",
    [
      [
        'return job.status !== "processing" || job.attempt !== attempt;',
        "return job.status !== 'processing';",
      ],
    ],
    2,
    [["late settle", 0]] as never,
  ],
  released: [
    "core/machine.js",
    [["return requeue(job, now, now, {});", "return fail(job, problem('attempt-failed'), null, moment);"]],
    2,
    [["shutdown", 0]] as never,
  ],
  quota: [
    "store/embedded/embedded.js",
    [["this.#roster.active(owner) >= limits.active", "this.#roster.active(owner) > limits.active"]],
    8,
    [],
  ],
  key: ["store/embedded/embedded.js", [["key: sameness?.key ?? null", "key: null"]], 8, []],
  fingerprint: [
    "store/embedded/embedded.js",
    [["found.fingerprint === sameness.fingerprint", "true"]],
    8,
    [],
  ],
  norescue: [
    "core/machine.js",
    [['return lose(job, "The worker fell silent.", moment);', 'return { refused: "not-lapsed" };']],
    2,
    [["rescue", 0]] as never,
  ],
  cancel: [
    "core/machine.js",
    [['if (job.cancelRequestedAt !== null)\n        return end(job, now, "canceled", { crashes });', ""]],
    30,
    [],
  ],
  stale: ["store/sqlite/table.js", [["this.#hot.clear();", ""]], 3, [["pair", 0]] as never],
};
const only = process.argv.slice(2);
for (const [name, [file, edits, cycles, rounds]] of Object.entries(M)) {
  if (only.length && !only.includes(name)) continue;
  const b = await build();
  try {
    const path = join(dirname(dirname(dirname(b.program("server")))), "src", file);
    let text = readFileSync(path, "utf8");
    for (const [from, to] of edits) {
      if (!text.includes(from as string)) console.log("NO MATCH", name, from);
      text = text.replace(from, to);
    }
    writeFileSync(path, text);
    const r = await runCrash({
      program: b.program("server"),
      cycles,
      seed: "m",
      rounds,
      untilFound: true,
    }).catch((e) => ({ violations: [String(e).slice(0, 500)], seconds: 0, cycles: 0 }));
    console.log(name, r.cycles, r.seconds.toFixed(1), JSON.stringify(r.violations.slice(0, 3)));
  } finally {
    await b.remove();
  }
}
