import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadConfig } from "./config.ts";
import { startServer } from "./server.ts";

async function start() {
  const directory = await mkdtemp(join(tmpdir(), "coatcheck-server-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const operation = `{ name: "echo", path: "/echo", policy: {}, input: null, output: null, file: null }`;
  await writeFile(
    join(directory, "coatcheck.config.mjs"),
    `export default {
      operations: [{ operation: ${operation}, handler() {} }],
      port: 0, store: "memory:", shutdownGrace: "200ms", log: { level: "fatal" },
      files: ${JSON.stringify(join(directory, "files"))},
    };`,
  );
  const config = await loadConfig({ directory, environment: {} });
  const server = await startServer(config);
  onTestFinished(() => server.close());
  return server;
}

describe("a server that is told to stop", () => {
  it.each([
    ["brought nothing yet", ""],
    ["stopped in the middle of a request", "POST /echo HTTP/1.1\r\nHost: localhost\r\n"],
  ])("does not wait for connections that %s", async (_what, sent) => {
    const { url, close } = await start();
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    socket.on("error", () => {}).resume();
    socket.write(sent);
    // By its answer the other connection is with the server too.
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    const ended = once(socket, "close");
    await close();
    await ended;
    await expect(fetch(url)).rejects.toThrow("fetch failed");
  });
});
