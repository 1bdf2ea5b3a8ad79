import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { defineOperation } from "../core/operation.ts";
import { createApiKey } from "../http/api-keys.ts";
import { ConfigError, type ConfigSources, loadConfig } from "./config.ts";
import { type ConfigOptions, defineConfig } from "./config-options.ts";
import { OPTIONS, VARIABLES } from "./options.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "coatcheck-config-"));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

const OPERATION = JSON.stringify(defineOperation({ name: "echo", path: "/echo" }));
const OPERATIONS = `operations: [{ operation: ${OPERATION}, handler: () => 1 }]`;

async function load(options: string, sources: ConfigSources = {}) {
  await writeFile(join(directory, "coatcheck.config.mjs"), `export default { ${options} };`);
  return await loadConfig({ directory, environment: {}, ...sources });
}

async function mistakesOf(loading: Promise<unknown>): Promise<readonly string[]> {
  try {
    await loading;
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes;
    throw error;
  }
  return [];
}

describe("what is left out", () => {
  test("has its default, and paths are absolute", async () => {
    const config = await load(OPERATIONS);
    expect(config).toMatchObject({
      store: `sqlite:${join(directory, "data/coatcheck.db")}`,
      files: join(directory, "data/files"),
      host: "127.0.0.1",
      port: 2020,
      publicUrl: null,
      access: { kind: "open", keys: [], keysFile: null, jwt: null },
      limits: "on",
      work: true,
      concurrency: null,
      healthPort: null,
      cors: { origins: [] },
      log: { level: "info", pretty: null },
      shutdownGraceMs: 25_000,
    });
    expect(config.operations[0]).toMatchObject({
      operation: { name: "echo" },
      isolate: null,
      concurrency: null,
    });
    expect([...config.tiers.keys()]).toEqual(["default"]);
  });
});

describe("the file", () => {
  test("is refused in one sentence where there is none", async () => {
    expect(await mistakesOf(loadConfig({ directory, environment: {} }))).toEqual([
      expect.stringMatching(/^There is no configuration: name one by --config/),
    ]);
    expect(await mistakesOf(loadConfig({ directory, environment: {}, file: "other.mjs" }))).toEqual([
      `There is no ${join(directory, "other.mjs")}.`,
    ]);
  });

  test("is refused where two of them could be meant", async () => {
    await writeFile(join(directory, "coatcheck.config.json"), "{}");
    expect(await mistakesOf(load(OPERATIONS))).toEqual([
      "There are coatcheck.config.mjs and coatcheck.config.json: say which one by --config.",
    ]);
  });

  test("that can't be loaded says why", async () => {
    expect(await mistakesOf(load("port: ]"))).toEqual([expect.stringContaining("can't be loaded: ")]);
    expect(
      await mistakesOf(
        load(`...(() => { throw new Error("no month") })()`, { file: "coatcheck.config.mjs?" }),
      ),
    ).toHaveLength(1);
  });

  test("without a default export says what to write", async () => {
    await writeFile(join(directory, "a.mjs"), "export const config = {};");
    expect(await mistakesOf(loadConfig({ directory, environment: {}, file: "a.mjs" }))).toEqual([
      expect.stringContaining("has no default export: write `export default defineConfig({ … })`."),
    ]);
  });

  test("may be JSON, with operations and handlers named by their modules", async () => {
    await writeFile(join(directory, "work.mjs"), `export const echo = ${OPERATION}; export default () => 1;`);
    const written = {
      operations: [
        {
          operation: "./work.mjs#echo",
          module: "./work.mjs",
          isolate: "process",
          concurrency: 3,
          memoryMb: 64,
        },
      ],
      store: "memory:",
      port: 0,
    };
    await mkdir(join(directory, "deep"));
    await writeFile(join(directory, "coatcheck.config.json"), JSON.stringify(written));
    const config = await loadConfig({ directory, environment: {} });
    expect(config).toMatchObject({ store: "memory:", port: 0 });
    expect(config.operations[0]).toMatchObject({
      operation: { name: "echo" },
      handler: null,
      isolate: "process",
      concurrency: 3,
      memoryMb: 64,
    });
    expect(config.operations[0]?.module?.href).toMatch(/^file:.*\/work\.mjs$/);
  });
});

test("a module that is not isolated is loaded, and its default export is the handler", async () => {
  await writeFile(join(directory, "work.mjs"), "export default () => 7; export const other = 7;");
  const config = await load(`operations: [{ operation: ${OPERATION}, module: "./work.mjs" }]`);
  expect(config.operations[0]).toMatchObject({ handler: expect.any(Function), module: null, isolate: null });
});

test("an operation without a handler is only accepted: its work is done elsewhere", async () => {
  const config = await load(`operations: [{ operation: ${OPERATION} }]`);
  expect(config.operations[0]).toMatchObject({ handler: null, module: null, isolate: null });
});

describe("layers", () => {
  test("the environment overrides the file, and the command line overrides both", async () => {
    const environment = { PORT: "3000", HOST: "::1", COATCHECK_STORE: "memory:", COATCHECK_LIMITS: "off" };
    const options = `${OPERATIONS}, port: 1000, host: "localhost", limits: "on", tiers: { free: { active: 2 } }`;
    const config = await load(options, { environment, flags: { port: "4000" } });
    expect(config).toMatchObject({ port: 4000, host: "::1", store: "memory:", limits: "off" });
    expect(config.tiers.get("free")).toMatchObject({ active: null, rate: null });
  });

  test("an empty variable is none", async () => {
    expect(await load(OPERATIONS, { environment: { PORT: "", COATCHECK_LIMITS: "" } })).toMatchObject({
      port: 2020,
    });
  });

  test("every variable sets its option", async () => {
    const keys = join(directory, "k.json");
    await writeFile(keys, `{"keys":[]}`);
    const environment = {
      PORT: "1",
      HOST: "0.0.0.0",
      COATCHECK_STORE: "sqlite:jobs.db",
      COATCHECK_FILES: "blobs",
      COATCHECK_PUBLIC_URL: "https://api.example/desk/",
      COATCHECK_KEYS_FILE: "k.json",
      COATCHECK_JWKS_URL: "https://issuer.example/jwks.json",
      COATCHECK_JWT_ISSUER: "https://issuer.example",
      COATCHECK_JWT_AUDIENCE: "one, two",
      COATCHECK_LIMITS: "off",
      COATCHECK_CONCURRENCY: "12",
      COATCHECK_HEALTH_PORT: "2021",
      COATCHECK_CORS_ORIGINS: "https://a.example,http://localhost:5173",
      COATCHECK_LOG_LEVEL: "warn",
      COATCHECK_SHUTDOWN_GRACE: "1m",
    };
    expect(Object.keys(environment)).toEqual(VARIABLES.map(({ name }) => name));
    expect(await load(OPERATIONS, { environment })).toMatchObject({
      port: 1,
      host: "0.0.0.0",
      store: `sqlite:${join(directory, "jobs.db")}`,
      files: join(directory, "blobs"),
      publicUrl: "https://api.example/desk",
      access: {
        kind: "keys-and-jwt",
        keysFile: keys,
        jwt: {
          jwks: new URL("https://issuer.example/jwks.json"),
          issuer: ["https://issuer.example"],
          audience: ["one", "two"],
        },
      },
      limits: "off",
      concurrency: 12,
      healthPort: 2021,
      cors: { origins: ["https://a.example", "http://localhost:5173"] },
      log: { level: "warn" },
      shutdownGraceMs: 60_000,
    });
  });

  test("a variable with a slip of the pen is refused; a program's own variable is left alone", async () => {
    const environment = {
      COATCHECK_STROE: "memory:",
      COATCHECK_MEDIA: "media",
      COATCHECK_TEST_REDIS_URL: "x",
    };
    expect(await mistakesOf(load(OPERATIONS, { environment }))).toEqual([
      "The variable COATCHECK_STROE is not known. Did you mean COATCHECK_STORE?",
    ]);
  });
});

describe("mistakes", () => {
  test.each([
    [`operatons: [], ${OPERATIONS}`, 'There is no option "operatons". Did you mean "operations"?'],
    [
      `${OPERATIONS}, public_url: "https://a.example"`,
      'There is no option "public_url". Did you mean "publicUrl"?',
    ],
    [`${OPERATIONS}, quux: 1`, 'There is no option "quux".'],
    [`${OPERATIONS}, log: { levl: "info" }`, 'There is no option "log.levl". Did you mean "level"?'],
    [
      `${OPERATIONS}, tiers: { free: { activ: 1 } }`,
      'There is no option "tiers.free.activ". Did you mean "active"?',
    ],
    [`${OPERATIONS}, port: 65536`, "port must be a whole number from 0 to 65535."],
    [`${OPERATIONS}, port: "80a"`, "port must be a whole number from 0 to 65535."],
    [
      `${OPERATIONS}, host: "http://localhost"`,
      "host must be an IP address or a host name, without a scheme or port.",
    ],
    [`${OPERATIONS}, publicUrl: "api.example"`, "publicUrl must be a URL such as"],
    [`${OPERATIONS}, publicUrl: "https://a:b@api.example"`, "publicUrl must be a URL such as"],
    [`${OPERATIONS}, store: "./jobs.db"`, "store is not a store: a store is `sqlite:` and a path"],
    [`${OPERATIONS}, store: "mysql://a:hunter2@b/c"`, "store can't be mysql: a store is `sqlite:`"],
    [`${OPERATIONS}, store: "postgres://a:hunter2/@b:5432/c"`, "store is not a URL: write postgres://"],
    [`${OPERATIONS}, work: "no"`, "work must be true or false."],
    [`${OPERATIONS}, work: false, store: "memory:"`, "A store in memory is this process's alone"],
    [`${OPERATIONS}, concurrency: 0`, "concurrency must be a whole number from 1 to 10000."],
    [`${OPERATIONS}, healthPort: -1`, "healthPort must be a whole number from 0 to 65535."],
    [`${OPERATIONS}, limits: "none"`, "limits must be on or off."],
    [
      `${OPERATIONS}, log: { level: "loud" }`,
      "log.level must be trace, debug, info, warn, error, fatal or silent.",
    ],
    [`${OPERATIONS}, cors: { origins: ["https://a.example/"] }`, "cors.origins must list origins such as"],
    [`${OPERATIONS}, cors: { origins: ["*"] }`, 'Without API keys or JWTs "*" in cors.origins would let'],
    [`${OPERATIONS}, shutdownGrace: "2h"`, "shutdownGrace must be at most an hour."],
    [`${OPERATIONS}, shutdownGrace: "soon"`, "shutdownGrace must be a duration"],
    [`${OPERATIONS}, tiers: { free: { active: 0 } }`, "tiers.free.active must be a whole number from 1"],
    [`${OPERATIONS}, tiers: { "Free!": {} }`, "A tier's name is"],
    [`operations: []`, "operations must be a list of at least one"],
    [`operations: [7]`, "operations.0 must be an object."],
    [
      `operations: [{ operation: {}, handler() {} }]`,
      "operations.0.operation must be what `defineOperation` gave.",
    ],
    [
      `operations: [{ operation: { name: "echo", path: "/echo", policy: {} }, handler() {} }]`,
      'The operation "echo" is not what `defineOperation` gives: its title must be text.',
    ],
    [
      `operations: [{ operation: { ...${OPERATION}, policy: { maxAttempts: 3 } }, handler() {} }]`,
      'The operation "echo" is not what `defineOperation` gives: its policy.backoff must be an object.',
    ],
    [
      `operations: [{ operation: ${OPERATION}, handler() {}, memoryMb: 64 }]`,
      'The memory of "echo" can be bounded only where it is isolated.',
    ],
    [
      `operations: [{ operation: ${OPERATION}, module: "./coatcheck.config.mjs", isolate: "thread", memoryMb: 1 }]`,
      "operations.0.memoryMb must be a whole number from 16 to 1048576.",
    ],
    [`operations: [{ operation: "./none.mjs#a", handler() {} }]`, "operations.0: there is no ./none.mjs."],
    [
      `operations: [{ operation: ${OPERATION}, handler() {}, module: "./a.js" }]`,
      "either a handler or a module, not both.",
    ],
    [`operations: [{ operation: ${OPERATION}, handler: 7 }]`, 'The handler of "echo" must be a function.'],
    [
      `operations: [{ operation: ${OPERATION}, handler() {}, isolate: "thread" }]`,
      'To isolate "echo", give a module',
    ],
    [
      `operations: [{ operation: ${OPERATION}, module: "./coatcheck.config.mjs", isolate: "vm" }]`,
      "operations.0.isolate must be thread or process.",
    ],
    [
      `operations: [{ operation: ${OPERATION}, handler() {}, concurrency: 0 }]`,
      "operations.0.concurrency must be a whole number from 1 to 10000.",
    ],
    [
      `operations: [{ operation: ${OPERATION}, handler() {} }, { operation: ${OPERATION}, handler() {} }]`,
      'Two operations are named "echo".',
    ],
  ])("%s is one sentence", async (options, sentence) => {
    const mistakes = await mistakesOf(load(options));
    expect(mistakes).toHaveLength(1);
    expect(mistakes[0]).toContain(sentence);
    expect(mistakes[0]).toMatch(/[.?]$/);
    expect(mistakes[0]).not.toContain("hunter2");
  });

  test("are told all at once, by the names under which they were made", async () => {
    const loading = load(`prot: 1, ${OPERATIONS}, shutdownGrace: -1`, {
      environment: { PORT: "many", COATCHECK_LOG_LEVEL: "loud" },
      flags: { host: "a b" },
    });
    expect(await mistakesOf(loading)).toEqual([
      'There is no option "prot". Did you mean "port"?',
      "--host must be an IP address or a host name, without a scheme or port.",
      "PORT must be a whole number from 0 to 65535.",
      expect.stringMatching(/^COATCHECK_LOG_LEVEL must be trace/),
      expect.stringMatching(/^shutdownGrace must be a duration/),
    ]);
  });
});

describe("access", () => {
  const { hash, prefix } = createApiKey();
  const key = { name: "laptop", prefix, hash, owner: "ada" };
  const JWT = `issuer: "https://i.example", audience: "me"`;

  test("an open server listens on loopback only", async () => {
    for (const host of ["127.0.0.1", "127.8.9.10", "::1", "localhost", "[::1]"]) {
      expect(await mistakesOf(load(OPERATIONS, { flags: { host } }))).toEqual([]);
    }
    for (const host of ["0.0.0.0", "::", "192.168.1.5", "example.com", "localhost.example.com"]) {
      expect(await mistakesOf(load(OPERATIONS, { flags: { host } }))).toEqual([
        expect.stringMatching(
          /^Without API keys or JWTs everyone may do everything, so the server listens on loopback/,
        ),
      ]);
    }
  });

  test("a server with keys or JWTs listens anywhere", async () => {
    const flags = { host: "0.0.0.0" };
    const withKeys = await load(`${OPERATIONS}, access: { keys: [${JSON.stringify(key)}] }`, { flags });
    expect(withKeys.access).toMatchObject({
      kind: "keys",
      keys: [
        { ...key, tier: "default", scopes: ["submit", "read", "cancel"], createdAt: null, expiresAt: null },
      ],
    });
    const jwt = `${OPERATIONS}, access: { jwt: { jwksUrl: "https://i.example/keys", ${JWT} } }`;
    await rm(join(directory, "coatcheck.config.mjs"));
    await writeFile(join(directory, "jwt.mjs"), `export default { ${jwt} };`);
    const withJwt = await loadConfig({ directory, environment: {}, file: "jwt.mjs", flags });
    expect(withJwt.access).toMatchObject({ kind: "jwt", keys: [], keysFile: null });
  });

  test("a keys file at its usual place is found, and its keys count", async () => {
    await mkdir(join(directory, "data"));
    await writeFile(join(directory, "data/keys.json"), JSON.stringify({ keys: [key] }));
    const { access } = await load(OPERATIONS);
    expect(access).toMatchObject({ kind: "keys", keysFile: join(directory, "data/keys.json") });
    expect(access.keys).toHaveLength(1);
  });

  test("a keys file that was named must be there", async () => {
    const environment = { COATCHECK_KEYS_FILE: "none.json", HOST: "0.0.0.0" };
    expect(await mistakesOf(load(OPERATIONS, { environment }))).toEqual([
      `There is no keys file ${join(directory, "none.json")}: make the first key with \`coatcheck keys create --owner NAME\`.`,
    ]);
  });

  test.each([
    [{ ...key, hash: "sha256:abc" }, 'access.keys[0].hash must be "sha256:" and 64 lower-case hex digits'],
    [{ ...key, owner: "" }, "access.keys[0].owner must be text of 1 to 256 characters."],
    [{ ...key, owner: "ada\ud800" }, "access.keys[0].owner must be text of 1 to 256 characters."],
    [{ ...key, owner: "\udc00\ud800" }, "access.keys[0].owner must be text of 1 to 256 characters."],
    [
      { ...key, scopes: ["root"] },
      "access.keys[0].scopes must be a list of these: submit, read, cancel, work, admin.",
    ],
    [
      { ...key, expires: "tomorrow" },
      "access.keys[0].expires must be an instant such as 2031-01-31T00:00:00Z.",
    ],
    [
      { ...key, expires: "2031-01-31" },
      "access.keys[0].expires must be an instant such as 2031-01-31T00:00:00Z.",
    ],
    [{ ...key, tier: "gold" }, 'The API key "laptop" is of the tier "gold", which there is not: default.'],
  ])("a key such as %j is refused", async (wrong, sentence) => {
    const mistakes = await mistakesOf(load(`${OPERATIONS}, access: { keys: [${JSON.stringify(wrong)}] }`));
    expect(mistakes).toEqual([expect.stringContaining(sentence)]);
  });

  test("a key's member with a slip of the pen is refused", async () => {
    const wrong = { ...key, onwer: "eve" };
    expect(await mistakesOf(load(`${OPERATIONS}, access: { keys: [${JSON.stringify(wrong)}] }`))).toContain(
      'access.keys[0] has an unknown member "onwer". Did you mean "owner"?',
    );
  });

  test.each([
    [`jwksUrl: "https://i.example/k", audience: "me"`, "access.jwt.issuer (COATCHECK_JWT_ISSUER) is missing"],
    [
      `jwksUrl: "https://i.example/k", issuer: "i"`,
      "access.jwt.audience (COATCHECK_JWT_AUDIENCE) is missing",
    ],
    [JWT, "access.jwt must have either a jwksUrl (COATCHECK_JWKS_URL) or a jwks"],
    [
      `jwksUrl: "https://i.example/k", jwks: { keys: [{}] }, ${JWT}`,
      "either a jwksUrl (COATCHECK_JWKS_URL) or a jwks",
    ],
    [
      `jwksUrl: "http://i.example/k", ${JWT}`,
      "access.jwt.jwksUrl must be an https URL, or an http URL on loopback.",
    ],
    [`jwks: { keys: [] }, ${JWT}`, "access.jwt.jwks must be a key set such as"],
    [`jwks: { keys: [{ kty: "EC", d: "…" }] }, ${JWT}`, "access.jwt.jwks must hold public keys only"],
    [`jwksUrl: "https://i.example/k", algorithms: ["HS256"], ${JWT}`, "access.jwt.algorithms must be RS256"],
    [`jwksUrl: "https://i.example/k", algorithms: ["none"], ${JWT}`, "access.jwt.algorithms must be RS256"],
    [
      `jwksUrl: "https://i.example/k", algorithms: [], ${JWT}`,
      "access.jwt.algorithms must have at least one",
    ],
    [
      `jwksUrl: "https://i.example/k", clockTolerance: "1h", ${JWT}`,
      "access.jwt.clockTolerance must be at most 10 min",
    ],
  ])("jwt: { %s } is refused", async (jwt, sentence) => {
    const mistakes = await mistakesOf(load(`${OPERATIONS}, access: { jwt: { ${jwt} } }`));
    expect(mistakes).toEqual([expect.stringContaining(sentence)]);
  });
});

test("defineConfig knows what each handler is given", () => {
  const double = defineOperation({
    name: "double",
    input: z.object({ of: z.number() }),
    output: z.object({ is: z.number() }),
  });
  const shout = defineOperation({ name: "shout", input: z.object({ text: z.string() }) });
  const config: ConfigOptions = defineConfig({
    operations: [
      { operation: double, handler: (input) => ({ is: input.of * 2 }) },
      { operation: shout, handler: async (input, attempt) => `${attempt.id}: ${input.text.toUpperCase()}` },
      { operation: "./other.js#operation", module: "./other.js", isolate: "thread" },
    ],
    // @ts-expect-error An option that there is not.
    prot: 1,
  });
  expect(config.operations).toHaveLength(3);
});

test("a store has its files beside it, and no other store's", async () => {
  const of = async (store: string) =>
    (await load(OPERATIONS, { environment: { COATCHECK_STORE: store } })).files;
  expect(await of("sqlite:elsewhere/jobs.db")).toBe(join(directory, "elsewhere/files"));
  expect(await of("sqlite:///srv/jobs.db")).toBe("/srv/files");
  expect(await of("memory:")).toBeNull();
  expect(await of("postgres://db/jobs?schema=coat")).toBeNull();
});

describe("a process that only works", () => {
  test("needs nobody's keys, and may listen anywhere", async () => {
    const config = await load(`${OPERATIONS}, host: "0.0.0.0", access: { keysFile: "none.json" }`, {
      use: "work",
      flags: { concurrency: "7", healthPort: "0" },
    });
    expect(config).toMatchObject({ concurrency: 7, healthPort: 0, access: { keys: [], keysFile: null } });
  });

  test.each([
    [
      `operations: [{ operation: ${OPERATION} }]`,
      {},
      "No operation has a handler or a module, so there is nothing to work.",
    ],
    [
      `${OPERATIONS}, store: "memory:"`,
      {},
      "A store in memory is this process's alone, so nobody else can do its work: choose another store.",
    ],
    [OPERATIONS, { concurrency: "0" }, "--concurrency must be a whole number from 1 to 10000."],
    [OPERATIONS, { healthPort: "no" }, "--health-port must be a whole number from 0 to 65535."],
  ])("is refused with %s and %j", async (options, flags, sentence) => {
    expect(await mistakesOf(load(options, { use: "work", flags }))).toEqual([sentence]);
  });
});

describe("docs/reference/configuration.md", () => {
  const PAGE = new URL("../../docs/reference/configuration.md", import.meta.url);
  const printed = (cells: readonly (readonly string[])[]) =>
    cells.map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`).join("");

  /** The table of a section, without its head; with `UPDATE_DOCS=1` it is printed anew. */
  const expectTable = async (heading: string, cells: readonly (readonly string[])[]) => {
    const page = await readFile(PAGE, "utf8");
    const table = new RegExp(`(^## ${heading}\\n[^#]*?\\| --- \\|[^\\n]*\\n)((?:\\|[^\\n]*\\n)*)`, "m");
    if (process.env.UPDATE_DOCS === "1") {
      await writeFile(
        PAGE,
        page.replace(table, (_all, head: string) => head + printed(cells)),
      );
    } else {
      expect(table.exec(page)?.[2]).toBe(printed(cells));
    }
  };

  test("lists every option with its default and meaning, and no other", () =>
    expectTable(
      "Options",
      OPTIONS.map(({ path, fallback, means }) => [
        `\`${path}\``,
        /^\S+$/.test(fallback) ? `\`${fallback}\`` : fallback,
        means,
      ]),
    ));

  test("lists every variable with the option that it overrides, and no other", () =>
    expectTable(
      "Environment",
      VARIABLES.map(({ name, option }) => [`\`${name}\``, `\`${option}\``]),
    ));
});
