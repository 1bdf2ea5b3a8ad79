// Provides the real servers and programs that tests and benches need, on whatever machine they run.
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, chmod, mkdir, mkdtemp, readdir, readFile, realpath } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { freePort, startTied } from "./process.ts";

const run = promisify(execFile);

export interface ProvidedServer {
  readonly url: string;
  /** Where it came from, for people: such as `/usr/bin/redis-server`. */
  readonly from: string;
  /** Kills the server and removes its directory; nothing, if it is one that an environment variable names. */
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** Whether each write is appended and synced before its reply; default false: nothing is kept on disk. */
  readonly appendonly?: boolean;
  /** Never the server that the environment names, which others may use and whose settings are not ours; default false. */
  readonly own?: boolean;
}

/**
 * A Redis of at least version 6: the one that `COATCHECK_TEST_REDIS_URL` names (callers share it, so they keep to a
 * prefix of their own), else `redis-server` or `valkey-server` of this machine on a free port in a temporary
 * directory, else Debian's package if this is Debian and we are root, else Docker. Throws one sentence that
 * says what to install if there is none of these. Ends with the calling process, however that ends.
 */
export async function provideRedis(options: RedisOptions = {}): Promise<ProvidedServer> {
  const settings =
    options.appendonly === true ? ["--appendonly", "yes", "--appendfsync", "always"] : ["--appendonly", "no"];
  return await provideServer(
    {
      name: "Redis",
      variable: options.own === true ? undefined : "COATCHECK_TEST_REDIS_URL",
      binaries: ["redis-server", "valkey-server"],
      debianPackage: "redis-server",
      image: "redis:7",
      imagePort: 6379,
      arguments: ({ directory, host, port }) => [
        ...["--port", `${port}`, "--bind", host, "--save", ""],
        ...(directory === undefined ? [] : ["--dir", directory]),
        ...settings,
      ],
      url: (port) => `redis://127.0.0.1:${port}`,
    },
    answersPing,
  );
}

export interface PostgresOptions {
  /** Settings beside the server's own, such as `{ fsync: "off" }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Never the server that the environment names, which others may use and whose settings are not ours; default false. */
  readonly own?: boolean;
}

/**
 * A PostgreSQL of at least version 12, with a database that the URL names: the one of `COATCHECK_TEST_POSTGRES_URL` (callers
 * share it, so they keep to a schema of their own), else the programs of this machine on a free port in a temporary
 * directory, else Debian's package if this is Debian and we are root, else Docker. Throws one sentence that says what to
 * install if there is none of these. Ends with the calling process, however that ends.
 */
export async function providePostgres(options: PostgresOptions = {}): Promise<ProvidedServer> {
  const settings = Object.entries(options.settings ?? {}).flatMap(([name, value]) => [
    "-c",
    `${name}=${value}`,
  ]);
  return await provideServer(
    {
      name: "PostgreSQL",
      variable: options.own === true ? undefined : "COATCHECK_TEST_POSTGRES_URL",
      binaries: ["postgres"],
      debianPackage: "postgresql",
      image: "postgres:17",
      imagePort: 5432,
      imageEnvironment: { POSTGRES_HOST_AUTH_METHOD: "trust" },
      arguments: ({ directory, host, port }) =>
        directory === undefined ? settings : postgresArguments(join(directory, "data"), host, port, settings),
      prepare: (directory, binary) => initPostgres(join(directory, "data"), binary),
      url: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
    },
    answersSql,
  );
}

export function postgresArguments(
  data: string,
  host: string,
  port: number,
  settings: readonly string[],
): string[] {
  return [
    ...["-D", data, "-h", host, "-p", `${port}`],
    // Sockets beside the data: where Debian keeps them, others may not write.
    ...[
      "-c",
      `unix_socket_directories=${data}`,
      "-c",
      "log_min_messages=panic",
      "-c",
      "log_min_error_statement=panic",
    ],
    ...settings,
  ];
}

export async function initPostgres(data: string, binary: string): Promise<void> {
  await mkdir(data, { mode: 0o700 });
  const user = await postgresUser();
  if (user !== null) {
    await run("chown", [user, data]);
    // What holds it must be passable for that user.
    await chmod(dirname(data), 0o711);
  }
  const options = [
    "-D",
    data,
    "-U",
    "postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
  ];
  const [program = "", ...values] = await asPostgres([
    join(dirname(await realpath(binary)), "initdb"),
    ...options,
  ]);
  await run(program, values, { cwd: tmpdir() });
}

// PostgreSQL refuses to run as root.
async function postgresUser(): Promise<string | null> {
  if (process.getuid?.() !== 0) return null;
  const isThere = await run("id", ["postgres"]).then(
    () => true,
    () => false,
  );
  return isThere ? "postgres" : "nobody";
}

export async function asPostgres(command: readonly string[]): Promise<readonly string[]> {
  const user = await postgresUser();
  return user === null ? command : ["setpriv", `--reuid=${user}`, "--clear-groups", "--", ...command];
}

// Debian keeps the programs of each version in a folder of its own; what lies on the PATH may be a lone copy without initdb.
export async function findPostgres(): Promise<string | undefined> {
  const versions = await readdir("/usr/lib/postgresql").catch(() => []);
  const newest = versions
    .map(Number)
    .filter(Number.isFinite)
    .sort((a, b) => b - a);
  const folders = newest.map((version) => `/usr/lib/postgresql/${version}/bin`);
  const onPath = await findBinary(["postgres"]);
  if (onPath !== undefined) folders.push(dirname(await realpath(onPath)));
  for (const folder of folders)
    if ((await isExecutable(join(folder, "postgres"))) && (await isExecutable(join(folder, "initdb"))))
      return join(folder, "postgres");
  return undefined;
}

/** Whether a PostgreSQL there takes connections: it answers a request for encryption, and not with an error. */
export function answersSql(port: number): Promise<boolean> {
  const startup = Buffer.from("\0\0\0\0\0\x03\0\0user\0postgres\0database\0postgres\0\0", "latin1");
  startup.writeInt32BE(startup.length, 0);
  return answers(port, startup, "R");
}

export async function untilGone(port: number): Promise<void> {
  while (await answers(port, Buffer.from("\0\0\0\x08\x04\xd2\x16\x2f", "latin1"), "")) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * The path of a program: the one that `COATCHECK_TEST_<NAME>` names, else the one on this machine, else out of
 * Debian's package if this is Debian and we are root. Throws one sentence that says what to install.
 */
export async function provideBinary(name: string, debianPackage: string): Promise<string> {
  const variable = `COATCHECK_TEST_${name.toUpperCase().replaceAll("-", "_")}`;
  const named = process.env[variable];
  if (named !== undefined && named !== "") return named;
  const found = (await findBinary([name])) ?? (await installFromDebian([name], debianPackage));
  if (found !== undefined) return found;
  throw new Error(
    `${name} is needed: install it (Debian: apt-get install ${debianPackage}) or name its path in ${variable}.`,
  );
}

/** What is to be known of a kind of server to provide one. */
interface ServerKind {
  readonly name: string;
  /** The environment variable with the URL of a server to use instead; undefined: none is asked for. */
  readonly variable: string | undefined;
  readonly binaries: readonly string[];
  readonly debianPackage: string;
  readonly image: string;
  readonly imagePort: number;
  /** The arguments of the program; without a directory it is a container's, whose disk goes with it. */
  arguments(place: { directory: string | undefined; host: string; port: number }): readonly string[];
  url(port: number): string;
  /** Makes the directory ready for the program. */
  prepare?(directory: string, binary: string): Promise<void>;
  readonly imageEnvironment?: Readonly<Record<string, string>>;
}

async function provideServer(
  kind: ServerKind,
  isReady: (port: number) => Promise<boolean>,
): Promise<ProvidedServer> {
  const named = kind.variable === undefined ? undefined : process.env[kind.variable];
  if (named !== undefined && named !== "") return { url: named, from: kind.variable!, stop: async () => {} };
  const find = kind.name === "PostgreSQL" ? findPostgres : () => findBinary(kind.binaries);
  const binary = (await find()) ?? (await installFromDebian(kind.binaries, kind.debianPackage, find));
  if (binary !== undefined) return await startBinary(kind, binary, isReady);
  if (await dockerRuns()) return await startContainer(kind, isReady);
  throw new Error(
    `${kind.name} is needed: install ${kind.binaries.join(" or ")} (Debian: apt-get install ${kind.debianPackage}) or Docker${
      kind.variable === undefined ? "" : `, or name a server in ${kind.variable}`
    }.`,
  );
}

async function startBinary(
  kind: ServerKind,
  binary: string,
  isReady: (port: number) => Promise<boolean>,
): Promise<ProvidedServer> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), `coatcheck-${kind.name.toLowerCase()}-`));
  await kind.prepare?.(directory, binary);
  const plain = [binary, ...kind.arguments({ directory, host: "127.0.0.1", port })];
  const command = kind.prepare === undefined ? plain : await asPostgres(plain);
  return await untilReady(kind, binary, port, startTied(command, { directory }), isReady, 20_000);
}

async function startContainer(
  kind: ServerKind,
  isReady: (port: number) => Promise<boolean>,
): Promise<ProvidedServer> {
  const port = await freePort();
  const container = `coatcheck-${kind.name.toLowerCase()}-${process.pid}-${port}`;
  const inside = kind.arguments({ directory: undefined, host: "0.0.0.0", port: kind.imagePort });
  const published = `127.0.0.1:${port}:${kind.imagePort}`;
  const variables = Object.entries(kind.imageEnvironment ?? {}).flatMap(([name, value]) => [
    "--env",
    `${name}=${value}`,
  ]);
  const command = [
    "docker",
    "run",
    "--rm",
    "--name",
    container,
    ...variables,
    "--publish",
    published,
    kind.image,
  ];
  const server = startTied([...command, kind.binaries[0]!, ...inside], { container });
  // The image may have to be fetched first.
  return await untilReady(kind, `Docker's ${kind.image}`, port, server, isReady, 300_000);
}

async function untilReady(
  kind: ServerKind,
  from: string,
  port: number,
  server: ReturnType<typeof startTied>,
  isReady: (port: number) => Promise<boolean>,
  timeoutMs: number,
): Promise<ProvidedServer> {
  let over: string | undefined;
  void server.ended.then(({ output }) => {
    over = output.trim().slice(-1_000);
  });
  const deadline = Date.now() + timeoutMs;
  while (!(await isReady(port))) {
    if (over !== undefined) throw new Error(`${kind.name} (${from}) ended at its start: ${over}`);
    if (Date.now() > deadline) {
      await server.stop();
      throw new Error(`${kind.name} (${from}) did not answer within ${timeoutMs / 1000} s.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url: kind.url(port), from, stop: () => server.stop() };
}

/** Whether a Redis there answers PING; false while it is loading or not there. */
function answersPing(port: number): Promise<boolean> {
  return answers(port, "PING\r\n", "+PONG");
}

/** Whether what listens there answers `said` with something that begins so. */
function answers(port: number, said: string | Buffer, begin: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(1_000, () => answer(false));
    socket.once("error", () => answer(false));
    socket.once("close", () => answer(false));
    socket.once("connect", () => socket.write(said));
    socket.once("data", (data) => answer(data.toString("latin1").startsWith(begin)));
  });
}

async function findBinary(names: readonly string[]): Promise<string | undefined> {
  // Places that a service's or an editor's PATH often lacks come last.
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    ...["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"],
  ];
  for (const name of names)
    for (const folder of folders) {
      const path = join(folder, name);
      if (folder !== "" && (await isExecutable(path))) return path;
    }
  return undefined;
}

function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Installs a Debian package if this is Debian (or made from it) and we are root, and looks again. */
export async function installFromDebian(
  names: readonly string[],
  debianPackage: string,
  find: () => Promise<string | undefined> = () => findBinary(names),
): Promise<string | undefined> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  if (!/^ID(_LIKE)?=.*debian/m.test(release) || process.getuid?.() !== 0) return undefined;
  // One at a time: apt-get does not wait for another's list update. RUNLEVEL=1 keeps the package from starting
  // its own service; if it starts all the same, it has its own port and is not in the way.
  const script = `apt-get update && apt-get install -y --no-install-recommends ${debianPackage}`;
  const lock = join(tmpdir(), "coatcheck-apt-get.lock");
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  await run("flock", [lock, "sh", "-c", script], { env: environment, timeout: 300_000 }).catch(
    () => undefined,
  );
  return await find();
}

async function dockerRuns(): Promise<boolean> {
  return await run("docker", ["info"], { timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}
