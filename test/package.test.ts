// The package as its users get it: packed, unpacked elsewhere, beside nothing but its own dependencies, in plain Node.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort, startTied } from "./process.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TSC = join(ROOT, "node_modules", "typescript", "bin", "tsc");

/** What a user's program brings of its own. */
const BESIDE = ["fastify", "zod", "typescript", "@types/node", "undici-types"];

/** What the README's program does, as JavaScript, and then what its caller does. */
const PROGRAM = `
import { coatcheck, defineOperation } from "coatcheck";
import Fastify from "fastify";
import { z } from "zod";

const countWords = defineOperation({
  name: "count-words",
  input: z.object({ text: z.string() }),
  output: z.object({ words: z.number() }),
});
const desk = coatcheck({ operations: [countWords], store: "sqlite:./data/words.db" });
desk.handle(countWords, async ({ text }, attempt) => {
  attempt.progress(50, "Counting…");
  return { words: text.split(/\\s+/).length };
});
const app = Fastify();
app.register(desk.fastify);
const base = await app.listen({ port: 0, host: "127.0.0.1" });

const accepted = await fetch(base + "/operations/count-words", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ text: "to be or not" }),
});
if (accepted.status !== 202) throw new Error(accepted.status + " " + (await accepted.text()));
const monitor = accepted.headers.get("location");
let answer;
do answer = await fetch(monitor, { headers: { prefer: "wait=10" } });
while (!answer.redirected);
console.log(JSON.stringify({ status: accepted.status, monitor: monitor.startsWith(base + "/jobs/"), result: await answer.json() }));
await app.close();
await desk.close();
`;

/** The same to the compiler: an input or a result of another type would be an error, and is expected to be one. */
const TYPED = `
import { coatcheck, defineOperation, type HandlerAttempt } from "coatcheck";
import { z } from "zod";

const countWords = defineOperation({
  name: "count-words",
  input: z.object({ text: z.string() }),
  output: z.object({ words: z.number() }),
});
const desk = coatcheck({ operations: [countWords], store: "memory" });
desk.handle(countWords, async ({ text }, attempt) => {
  const same: HandlerAttempt = attempt;
  same.progress(50);
  return { words: text.length };
});
// @ts-expect-error: words are a number
desk.handle(countWords, async () => ({ words: "many" }));
// @ts-expect-error: there is no such member
desk.handle(countWords, async ({ txt }) => ({ words: txt }));
`;

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  readonly files: readonly string[];
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
};

let folder: string;
let app: string;
let contents: readonly string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-package-"));
  const unpacked = await unpack(await pack());
  app = join(folder, "app");
  await mkdir(join(app, "node_modules"), { recursive: true });
  await symlink(unpacked, join(app, "node_modules", "coatcheck"));
  for (const name of BESIDE) await link(name, app);
  await writeFile(join(app, "package.json"), '{ "type": "module" }');
}, 120_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the packed package", () => {
  it("holds what runs and what is read, and no source and no test", () => {
    const { exports: entries, bin, files } = manifest;
    const targets = [
      ...Object.values(entries).flatMap((entry) =>
        typeof entry === "string" ? [entry] : Object.values(entry),
      ),
      ...Object.values(bin),
      ...files.filter((file) => file !== "dist"),
    ];
    expect(contents).toEqual(expect.arrayContaining(targets.map((target) => target.replace(/^\.\//, ""))));
    expect(targets.length).toBeGreaterThan(files.length);
    expect(contents.filter((path) => /\.test\.|^(?:src|test|docs|bench|examples)\//.test(path))).toEqual([]);
    expect(contents.filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))).toEqual([]);
  });

  it("runs the README's program in plain Node, from 202 to the result", async () => {
    await writeFile(join(app, "program.js"), PROGRAM);
    const { stdout } = await run(process.execPath, ["program.js"], {
      cwd: app,
      env: plain(),
      timeout: 60_000,
    });
    // The log comes first: a desk without access warns of it.
    expect(JSON.parse(stdout.trim().split("\n").at(-1) as string)).toEqual({
      status: 202,
      monitor: true,
      result: { words: 4 },
    });
  }, 90_000);

  it("types handlers by their operation's schemas", async () => {
    await writeFile(join(app, "typed.ts"), TYPED);
    const options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2023", "--types", "node"];
    const compiled = run(process.execPath, [TSC, ...options, "--skipLibCheck", "typed.ts"], { cwd: app });
    expect(await compiled.then(({ stdout }) => stdout, told)).toBe("");
  }, 90_000);

  it("brings a command that serves an app's own configuration", async () => {
    await writeFile(
      join(app, "coatcheck.config.js"),
      `import { defineConfig, defineOperation } from "coatcheck";
       const nap = defineOperation({ name: "nap" });
       export default defineConfig({ operations: [{ operation: nap, handler: async () => null }] });`,
    );
    const port = await freePort();
    const main = join(app, "node_modules", "coatcheck", "dist", "cli", "main.js");
    const server = startTied([process.execPath, main, "serve", "--port", `${port}`, "--host", "127.0.0.1"], {
      workingDirectory: app,
      environment: { ...UNTOUCHED, COATCHECK_STORE: "memory:" },
    });
    try {
      await server.line('{"level":"info"', 30_000);
      const answer = await fetch(`http://127.0.0.1:${port}/operations/nap`, { method: "POST" });
      expect(answer.status).toBe(202);
    } finally {
      await server.stop();
    }
  }, 60_000);
});

/** Packs what is in the tree now, without touching the build that other tests may be using. */
async function pack(): Promise<string> {
  const tree = join(folder, "tree");
  await mkdir(tree);
  for (const file of ["package.json", ...manifest.files.filter((name) => name !== "dist")]) {
    await cp(join(ROOT, file), join(tree, file), { recursive: true });
  }
  const build = [TSC, "--project", "tsconfig.build.json", "--outDir", join(tree, "dist")];
  const built = run(process.execPath, build, { cwd: ROOT });
  expect(await built.then(({ stdout }) => stdout, told)).toBe("");
  // The build has just been made; what `prepack` would make is the same.
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", "--offline"], {
    cwd: tree,
    maxBuffer: 16 * 1024 ** 2,
  });
  const [packed] = JSON.parse(stdout) as [
    { readonly filename: string; readonly files: readonly { readonly path: string }[] },
  ];
  contents = packed.files.map(({ path }) => path);
  return join(tree, packed.filename);
}

async function unpack(archive: string): Promise<string> {
  await run("tar", ["-xzf", archive, "-C", folder]);
  const unpacked = join(folder, "package");
  // Only what it names itself: what it takes from elsewhere by accident is not found.
  const { dependencies, optionalDependencies } = manifest;
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) await link(name, unpacked);
  return unpacked;
}

async function link(name: string, into: string): Promise<void> {
  const path = join(into, "node_modules", name);
  await mkdir(dirname(path), { recursive: true });
  await symlink(join(ROOT, "node_modules", name), path);
}

/** Without what the test runner tells the programs that it starts, such as a loader of TypeScript. */
const UNTOUCHED = { NODE_OPTIONS: "", NODE_ENV: "" };

function plain(): NodeJS.ProcessEnv {
  return { ...process.env, ...UNTOUCHED };
}

function told(error: { readonly stdout?: string; readonly message: string }): string {
  return error.stdout || error.message;
}
