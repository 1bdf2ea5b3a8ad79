// Builds dist/ from src/: the compiler does all of it; this only starts from an empty folder.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";

rmSync("dist", { recursive: true, force: true });
const tsc = spawnSync("npx", ["tsc", "--project", "tsconfig.build.json"], { stdio: "inherit" });
process.exit(tsc.status ?? 1);
