import { build } from "./build.ts";
import { runCrash } from "./harness.ts";

const b = await build();
const rounds = process.argv[4]
  ? process.argv[4].split(",").map((r, i, all) => [r, i / all.length] as never)
  : [];
try {
  for (let i = 0; i < Number(process.argv[5] ?? 1); i++) {
    const r = await runCrash({
      program: b.program(process.argv[2]!),
      cycles: Number(process.argv[3] ?? 1),
      seed: `y${i}${process.pid}`,
      untilFound: true,
      rounds,
    });
    console.log(i, r.seconds.toFixed(1), JSON.stringify(r.violations));
    if (r.violations.length) break;
  }
} finally {
  await b.remove();
}
