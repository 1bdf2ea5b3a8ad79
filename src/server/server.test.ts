import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadConfig } from "./config.ts";
import { startServer } from "./server.ts";

async function start(handler = "handler() {}", grace = "200ms") {
  const directory = await mkdtemp(join(tmpdir(), "coatcheck-server-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  await writeFile(
    join(directory, "coatcheck.config.mjs"),
    `import { defineOperation } from ${JSON.stringify(new URL("../core/operation.ts", import.meta.url).href)};
    export default {
      operations: [{ operation: defineOperation({ name: "echo", path: "/echo" }), ${handler} }],
      port: 0, store: "memory:", shutdownGrace: "${grace}", log: { level: "fatal" },
      files: ${JSON.stringify(join(directory, "files"))},
    };`,
  );
  const config = await loadConfig({ directory, environment: {} });
  const server = await startServer(config);
  onTestFinished(() => server.close());
  return server;
}

describe("a server that is told to stop", () => {
  it("is asked for its jobs until their attempts have ended, and takes no more", async () => {
    // It pays no heed to its signal, and ends when the test says so.
    const { url, close } = await start(
      "handler: () => new Promise((resolve) => { globalThis.endWork = resolve; })",
      "20s",
    );
    const post = () => fetch(`${url}/echo`, { method: "POST" });
    const { statusUrl } = (await (await post()).json()) as { statusUrl: string };
    const status = async () => ((await (await fetch(statusUrl)).json()) as { status: string }).status;
    await expect.poll(status).toBe("processing");
    const closed = close();
    const ready = await fetch(`${url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([503, { status: "draining" }]);
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    const id = "0".repeat(22);
    for (const refused of [await post(), await fetch(`${url}/jobs/${id}`, { method: "PUT" })]) {
      expect(refused.status).toBe(503);
      expect(refused.headers.get("retry-after")).toMatch(/^[1-9]/);
      expect(await refused.json()).toMatchObject({
        type: `${url}/problems/unavailable`,
        detail: "The server is shutting down.",
      });
    }
    expect(await status()).toBe("processing");
    expect((await fetch(`${url}/jobs/${id}`, { method: "DELETE" })).status).toBe(404);
    (globalThis as unknown as { endWork(): void }).endWork();
    await closed;
    await expect(fetch(url)).rejects.toThrow("fetch failed");
  });

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
