import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hashOf } from "../http/api-keys.ts";

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const NODE = ["--import", path("../../scripts/typescript.js"), path("./main.ts")];
const OPERATIONS = new URL("../core/operation.ts", import.meta.url).href;

let directory: string;
const running = new Set<ChildProcess>();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "coatcheck-cli-"));
});

afterEach(async () => {
  for (const child of running) child.kill("SIGKILL");
  running.clear();
  await rm(directory, { recursive: true });
});

function start(words: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [...NODE, ...words], {
    cwd: directory,
    env: { PATH: process.env.PATH, NODE_NO_WARNINGS: "1", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const output = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.err += text;
  });
  const ended = once(child, "close").then(([code]) => {
    running.delete(child);
    return { code: code as number | null, ...output };
  });
  return { child, output, ended };
}

const run = (words: readonly string[], environment?: NodeJS.ProcessEnv) => start(words, environment).ended;

const writeConfig = (options = "") =>
  writeFile(
    join(directory, "coatcheck.config.mjs"),
    `import { defineOperation } from ${JSON.stringify(OPERATIONS)};
const echo = defineOperation({ name: "echo", title: "Echo", input: { type: "object", properties: { text: { type: "string" } } } });
export default { operations: [{ operation: echo, handler: (input) => input }], store: "memory:", ${options} };`,
  );

describe("help", () => {
  test("without a command the commands are listed", async () => {
    const { code, out } = await run([]);
    expect(code).toBe(0);
    for (const command of ["serve", "work", "keys", "openapi"])
      expect(out).toMatch(new RegExp(`^ {2}${command} +[A-Z].*\\.$`, "m"));
    for (const words of [["--help"], ["-h"], ["help"]])
      expect(await run(words)).toEqual({ code: 0, out, err: "" });
  });

  test.each(["serve", "work", "keys", "openapi"])(
    "%s explains itself, in lines that fit a terminal",
    async (command) => {
      const { code, out } = await run([command, "--help"]);
      expect(code).toBe(0);
      expect(out).toContain(`Usage: coatcheck ${command}`);
      expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(110);
      expect(await run(["help", command])).toEqual({ code: 0, out, err: "" });
    },
  );

  test("the version is the package's", async () => {
    const { version } = JSON.parse(await readFile(path("../../package.json"), "utf8")) as {
      readonly version: string;
    };
    expect(await run(["--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
  });
});

describe("bad input is one plain sentence, and exit code 2", () => {
  test.each([
    [["srve"], 'There is no command "srve". Did you mean "serve"? See `coatcheck --help`.'],
    [["--quiet"], 'There is no option "--quiet". See `coatcheck --help`.'],
    [["help", "me"], 'There is no command "me". See `coatcheck --help`.'],
    [["serve", "--prot", "1"], 'There is no option --prot. Did you mean "--port"?'],
    [["serve", "--port"], "The option --port needs a value."],
    [["serve", "--port", "1", "--port", "2"], "The option --port may be given once."],
    [["serve", "now"], '"now" is one word too many.'],
    [["serve", "--no-work=1"], "The option --no-work takes no value."],
    [["work", "--concurency", "1"], 'There is no option --concurency. Did you mean "--concurrency"?'],
    [["work"], /^There is no configuration/],
    [["serve", "--config", "none.ts"], /^There is no .*none\.ts\.$/],
    [["serve"], /^There is no configuration: name one by --config, or write coatcheck\.config\.ts/],
    [["openapi"], /^There is no configuration/],
    [["keys"], "Say which: keys create, keys list, keys revoke."],
    [["keys", "crate"], 'There is no `keys crate`. Did you mean "create"?'],
    [["keys", "create"], "Say whose jobs the key opens, by --owner."],
    [
      ["keys", "create", "--owner", "ada", "--scopes", "raed"],
      'There is no scope "raed". Did you mean "read"?',
    ],
    [
      ["keys", "create", "--owner", "ada", "--expires", "soon"],
      '--expires takes a duration such as "90d" or "12h".',
    ],
    [["keys", "create", "--owner", "a\nb"], "An owner is text of 1 to 256 characters."],
    [["keys", "revoke", "ada"], /^There is no keys file .*data\/keys\.json\.$/],
    [["keys", "revoke"], "Say which key, by its name or its first characters."],
  ])("%j", async (words, sentence) => {
    const { code, out, err } = await run(words);
    expect(out).toBe("");
    expect(err).toMatch(/^coatcheck: [^\n]*\n$/);
    const said = err.slice("coatcheck: ".length, -1);
    if (typeof sentence === "string") expect(said).toBe(sentence);
    else expect(said).toMatch(sentence);
    expect(code).toBe(2);
  });

  test("a wrong configuration is one sentence for each mistake", async () => {
    await writeConfig("prot: 1, limits: 7");
    const { code, err } = await run(["serve", "--port", "99999", "--host", "0.0.0.0"]);
    expect(code).toBe(2);
    expect(err.split("\n")).toEqual([
      'coatcheck: There is no option "prot". Did you mean "port"?',
      "coatcheck: limits must be on or off.",
      "coatcheck: --port must be a whole number from 0 to 65535.",
      expect.stringContaining("coatcheck: Without API keys or JWTs everyone may do everything"),
      "",
    ]);
  });
});

describe("keys", () => {
  test("a key is shown once, kept as its hash, listed and revoked", async () => {
    const words = ["--owner", "ada", "--scopes", "read,submit", "--expires", "90d", "--name", "laptop"];
    const created = await run(["keys", "create", ...words]);
    expect(created.code).toBe(0);
    // Only the key is on standard output: KEY=$(coatcheck keys create …).
    expect(created.out).toMatch(/^ck_[\w-]{51}\n$/);
    const key = created.out.trim();
    expect(created.err).toContain('This is the only time that the key "laptop" is shown.');
    expect(created.err).not.toContain(key);
    const file = join(directory, "data/keys.json");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const content = await readFile(file, "utf8");
    expect(content).not.toContain(key);
    expect(JSON.parse(content)).toEqual({
      keys: [
        {
          name: "laptop",
          prefix: key.slice(3, 11),
          hash: hashOf(key),
          owner: "ada",
          tier: "default",
          scopes: ["submit", "read"],
          created: expect.stringMatching(/Z$/),
          expires: expect.stringMatching(/Z$/),
        },
      ],
    });
    const second = await run(["keys", "create", "--owner", "ada"]);
    expect(second.err).toContain('the key "ada" is shown');
    expect((await run(["keys", "create", "--owner", "eve", "--name", "laptop"])).err).toBe(
      'coatcheck: There is a key named "laptop" already.\n',
    );
    const list = await run(["keys", "list"]);
    expect(list.out).toMatch(
      /^NAME +KEY +OWNER +TIER +SCOPES +CREATED +EXPIRES\nlaptop +ck_.{8}… +ada +default +submit,read +\d/,
    );
    expect((await run(["keys", "revoke", "ck_none"])).code).toBe(2);
    expect((await run(["keys", "revoke", key])).out).toBe('The key "laptop" of "ada" is revoked.\n');
    expect((await run(["keys", "revoke", second.out.slice(0, 9)])).out).toBe(
      'The key "ada" of "ada" is revoked.\n',
    );
    expect((await run(["keys", "list"])).out).toBe(`There are no keys in ${file}.\n`);
  });

  test("they go where the configuration says, and are of a tier that it has", async () => {
    await writeConfig(`access: { keysFile: "secrets/k.json" }, tiers: { paid: {} }`);
    expect((await run(["keys", "create", "--owner", "ada", "--tier", "gold"])).err).toBe(
      'coatcheck: The configuration has no tier "gold", only default, paid.\n',
    );
    expect((await run(["keys", "create", "--owner", "ada", "--tier", "paid"])).code).toBe(0);
    expect((await run(["keys", "list"])).out).toContain("paid");
    expect(await readFile(join(directory, "secrets/k.json"), "utf8")).toContain("sha256:");
    expect((await run(["keys", "list"], { COATCHECK_KEYS_FILE: "other.json" })).out).toContain(
      "There are no keys in",
    );
  });

  test("a keys file that is broken is told, and stays as it is", async () => {
    await writeFile(join(directory, "keys.json"), "{}");
    const { code, err } = await run(["keys", "create", "--owner", "ada", "--keys-file", "keys.json"]);
    expect(code).toBe(2);
    expect(err).toMatch(/^coatcheck: The keys file .*keys\.json must be like \{ "keys": \[\] \}\.\n$/);
    expect(await readFile(join(directory, "keys.json"), "utf8")).toBe("{}");
  });
});

describe("openapi", () => {
  test("the document is printed, with the operations of the configuration", async () => {
    await writeConfig(`publicUrl: "https://api.example.test/"`);
    const { code, out, err } = await run(["openapi"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(JSON.parse(out)).toMatchObject({
      openapi: "3.1.0",
      servers: [{ url: "https://api.example.test" }],
      paths: { "/operations/echo": { post: { summary: "Echo" } } },
    });
  });

  test("a reader that stops reading is no failure", async () => {
    await writeConfig();
    const { child, output, ended } = start(["openapi"]);
    child.stdout?.destroy();
    expect((await ended).code).toBe(0);
    expect(output.err).toBe("");
  });
});

describe("serve", () => {
  const serving = async (words: readonly string[] = [], environment?: NodeJS.ProcessEnv) => {
    const server = start(["serve", "--port", "0", ...words], environment);
    const url = () => /http:\/\/127\.0\.0\.1:\d+/.exec(server.output.out)?.[0];
    const failed = server.ended.then(({ err }) => Promise.reject(new Error(err)));
    await Promise.race([expect.poll(url, { timeout: 20_000 }).toBeDefined(), failed]);
    failed.catch(() => {});
    return { ...server, url: url() as string };
  };

  test.each(["SIGTERM", "SIGINT"] as const)("it serves until %s, and then ends with 0", async (signal) => {
    await writeConfig();
    const { child, ended, url } = await serving();
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 0, err: "" });
    await expect(fetch(`${url}/health/ready`)).rejects.toThrow("fetch failed");
  });

  test("a second signal ends it at once", async () => {
    await writeConfig();
    await writeFile(
      join(directory, "coatcheck.config.mjs"),
      (await readFile(join(directory, "coatcheck.config.mjs"), "utf8")).replace(
        "(input) => input",
        "() => new Promise((resolve) => setTimeout(resolve, 600_000))",
      ),
    );
    const { child, ended, url, output } = await serving();
    const submitted = await fetch(`${url}/operations/echo`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(submitted.status).toBe(202);
    await expect.poll(() => output.out, { timeout: 10_000 }).toContain('"event":"started"');
    child.kill("SIGTERM");
    // It has heard the first one once it says that it drains.
    await expect
      .poll(() => fetch(`${url}/health/ready`).then(({ status }) => status), { timeout: 10_000 })
      .toBe(503);
    child.kill("SIGTERM");
    expect((await ended).code).toBe(1);
  });

  test("with keys it lets in who has one", async () => {
    await writeConfig();
    const { out } = await run(["keys", "create", "--owner", "ada"]);
    const { url } = await serving();
    expect((await fetch(`${url}/jobs`)).status).toBe(401);
    const answer = await fetch(`${url}/jobs`, { headers: { authorization: `Bearer ${out.trim()}` } });
    expect(answer.status).toBe(200);
  });

  test("an address that is taken is one sentence, and exit code 1", async () => {
    await writeConfig();
    const { url } = await serving();
    const { port } = new URL(url);
    const { code, err } = await run(["serve", "--port", port]);
    expect({ code, err }).toEqual({
      code: 1,
      err: `coatcheck: Something else listens on 127.0.0.1:${port}: choose another --port.\n`,
    });
  });
});
