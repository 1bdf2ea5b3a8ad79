// Holds what test/servers.ts promises: real servers, on any machine, that leave nothing behind.
import { once } from "node:events";
import { access } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import { startTied } from "./process.ts";
import { provideBinary, provideRedis } from "./servers.ts";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

test("a provided Redis answers, and is gone with its directory once stopped", async () => {
  const redis = await provideRedis({ own: true });
  const socket = await connected(redis.url);
  const directory = await setting(socket, "dir");
  expect(await setting(socket, "appendonly")).toBe("no");
  await access(directory);
  const closed = closing(socket);
  await redis.stop();
  await closed;
  await expect(access(directory)).rejects.toThrow("ENOENT");
  await expect(connected(redis.url)).rejects.toThrow("ECONNREFUSED");
});

test("a Redis asked to append syncs every write", async () => {
  const redis = await provideRedis({ own: true, appendonly: true });
  const socket = await connected(redis.url);
  expect(await setting(socket, "appendonly")).toBe("yes");
  expect(await setting(socket, "appendfsync")).toBe("always");
  await redis.stop();
});

test("a provided Redis dies with its parent, even by SIGKILL, and its directory goes too", async () => {
  const servers = new URL("./servers.ts", import.meta.url).href;
  const parent = startTied([
    process.execPath,
    "--import",
    fileURLToPath(new URL("../scripts/typescript.js", import.meta.url)),
    "--input-type=module",
    "--eval",
    `import { provideRedis } from ${JSON.stringify(servers)};
     const redis = await provideRedis({ own: true });
     console.log("ready " + redis.url);
     setInterval(() => {}, 60_000);`,
  ]);
  const socket = await connected(await parent.line("ready "));
  const directory = await setting(socket, "dir");
  await access(directory);
  const closed = closing(socket);
  process.kill(parent.pid, "SIGKILL");
  await closed;
  await vi.waitFor(() => expect(access(directory)).rejects.toThrow("ENOENT"), 10_000);
  await parent.stop();
});

test("the environment's own server is used, and left alone", async () => {
  vi.stubEnv("COATCHECK_TEST_REDIS_URL", "redis://198.51.100.7:6379");
  const redis = await provideRedis();
  expect(redis.url).toBe("redis://198.51.100.7:6379");
  await redis.stop();
});

test("what cannot be provided is named in one sentence", async () => {
  vi.spyOn(process, "getuid").mockReturnValue(1000); // Else, on Debian, the package manager is asked.
  await expect(provideBinary("coatcheck-no-such-program", "coatcheck-no-such-package")).rejects.toThrow(
    "coatcheck-no-such-program is needed: install it (Debian: apt-get install coatcheck-no-such-package) " +
      "or name its path in COATCHECK_TEST_COATCHECK_NO_SUCH_PROGRAM.",
  );
});

test("a program that ends before it is ready is reported with what it said", async () => {
  const failing = startTied(["/bin/sh", "-c", "echo no licence >&2; exit 3"]);
  await expect(failing.line("ready ")).rejects.toThrow("no licence");
  expect(await failing.ended).toEqual({ code: 3, output: "no licence\n" });
});

test("what a stopped program started is stopped with it", async () => {
  const grandchild = `require("node:net").createServer().listen(0, "127.0.0.1", function () {
    console.log("port " + this.address().port);
  })`;
  const child = `require("node:child_process").spawn(process.execPath, ["--eval", ${JSON.stringify(grandchild)}], { stdio: "inherit" })`;
  const program = startTied([process.execPath, "--eval", child]);
  const url = `tcp://127.0.0.1:${await program.line("port ")}`;
  const socket = await connected(url);
  const closed = closing(socket);
  await program.stop();
  await closed;
  // The kernel closes a killed process's sockets one after the other.
  await vi.waitFor(() => expect(connected(url)).rejects.toThrow("ECONNREFUSED"), 10_000);
});

async function connected(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  socket.on("error", () => {});
  return socket;
}

/** Resolves when the connection is over; a killed peer may well reset it, which `once` would take for a failure. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

async function setting(socket: Socket, name: string): Promise<string> {
  socket.write(`CONFIG GET ${name}\r\n`);
  const [reply] = (await once(socket, "data")) as [Buffer];
  return reply.toString().split("\r\n")[4]!;
}
