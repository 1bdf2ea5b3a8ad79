import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readlink, rm, stat } from "node:fs/promises";
import { type IncomingMessage, request as open } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { freePort, startTied } from "../../test/process.ts";
import { start as startExpress } from "./express.ts";
import { start as startFastify } from "./fastify.ts";
import { start as startHono } from "./hono.ts";
import { start as startNode } from "./node-http.ts";

interface Mount {
  readonly prefix: string;
  /** The program's file. */
  readonly file: string;
  start(store: string): Promise<{ readonly url: string; close(): Promise<void> }>;
}

const MOUNTS: Readonly<Record<string, Mount>> = {
  Fastify: { prefix: "/slow", file: "fastify.ts", start: (store) => startFastify({ store }) },
  Express: { prefix: "/slow", file: "express.ts", start: (store) => startExpress({ store }) },
  "Express behind express.json()": {
    prefix: "/slow",
    file: "express.ts",
    start: (store) => startExpress({ store, jsonFirst: true }),
  },
  "node:http": { prefix: "", file: "node-http.ts", start: (store) => startNode({ store }) },
  Hono: {
    prefix: "/slow",
    file: "hono.ts",
    start: async (store) => startHono({ store, port: await freePort() }),
  },
};

const ADA = { authorization: "Bearer token-of-ada" };
const BEN = { authorization: "Bearer token-of-ben" };
const JSON_BODY = { ...ADA, "content-type": "application/json" };

describe.each(Object.entries(MOUNTS))("mounted in %s", (_name, mount) => {
  let home: string;
  let app: Awaited<ReturnType<Mount["start"]>>;
  let base: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "mounting-"));
    app = await mount.start(`sqlite:${join(home, "desk.db")}`);
    base = `${app.url}${mount.prefix}`;
  });

  afterAll(async () => {
    await app.close();
    await expect(fetch(app.url)).rejects.toThrow("fetch failed");
    await rm(home, { recursive: true, force: true });
  });

  const submit = (body: object, headers: Record<string, string> = {}) =>
    fetch(`${base}/operations/gzip`, {
      method: "POST",
      headers: { ...JSON_BODY, ...headers },
      body: JSON.stringify(body),
    });

  it("takes a job from its 202 over the monitor and the 303 to its result", async () => {
    const accepted = await submit({ text: "Slow and steady." }, { "idempotency-key": "race" });
    expect(accepted.status).toBe(202);
    const monitor = accepted.headers.get("location") ?? "";
    expect(monitor).toMatch(new RegExp(`^${base}/jobs/[\\w-]{22,}$`));
    expect(accepted.headers.get("content-location")).toBe(monitor);
    expect(accepted.headers.get("link")).toContain(`<${monitor}>; rel="monitor"`);
    expect(Number(accepted.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    const again = await submit({ text: "Slow and steady." }, { "idempotency-key": "race" });
    expect([again.status, again.headers.get("location")]).toEqual([202, monitor]);
    expect(again.headers.get("idempotency-replayed")).toBe("true");

    const done = await fetch(monitor, { headers: { ...ADA, prefer: "wait=20" }, redirect: "manual" });
    expect(done.status).toBe(303);
    expect(await done.json()).toMatchObject({ status: "completed", statusUrl: monitor });
    expect(done.headers.get("location")).toBe(`${monitor}/result`);

    const result = await fetch(done.headers.get("location") ?? "", { headers: ADA });
    expect(result.status).toBe(200);
    expect(result.headers.get("content-disposition")).toBe('attachment; filename="text.gz"');
    expect(gunzipSync(await result.arrayBuffer()).toString()).toBe("Slow and steady.");
  });

  it("waits on the submit itself where the caller prefers that", async () => {
    const answer = await submit({ text: "At once." }, { prefer: "wait=20" });
    expect([answer.status, answer.headers.get("preference-applied")]).toEqual([200, "wait"]);
    expect(gunzipSync(await answer.arrayBuffer()).toString()).toBe("At once.");
  });

  it("refuses bad input with a problem document that points into the docs below the mount", async () => {
    const answer = await submit({ text: "x", level: 11 });
    expect(answer.status).toBe(422);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    const { type, errors } = (await answer.json()) as { type: string; errors: object[] };
    expect(errors).toMatchObject([{ pointer: "/level" }]);
    expect(type).toBe(`${base}/problems/invalid-input`);
    expect((await fetch(type)).status).toBe(200);
  });

  it("leaves the app's own routes and its 404 to the app", async () => {
    expect(await (await fetch(`${app.url}/`)).text()).toBe("The app's own page");
    const unknown = await fetch(`${app.url}/no-such-page`);
    expect(unknown.status).toBe(404);
    expect(unknown.headers.get("content-type") ?? "").not.toContain("problem+json");
  });

  it("has the app's sign-in decide whose job it is: to all others it does not exist", async () => {
    const accepted = await submit({ text: "Mine." }, { prefer: "wait=20" });
    const link = accepted.headers.get("content-location") ?? "";
    const monitor = link.replace(/\/result$/, "");
    for (const method of ["GET", "DELETE"]) {
      const others = await fetch(monitor, { method, headers: BEN });
      const unknown = await fetch(`${base}/jobs/AAAAAAAAAAAAAAAAAAAAAA`, { method, headers: BEN });
      expect([others.status, await others.text()]).toEqual([404, await unknown.text()]);
    }
    expect((await fetch(`${monitor}/result`, { headers: BEN })).status).toBe(404);
    const nobody = await fetch(monitor);
    expect(nobody.status).toBe(401);
    expect(nobody.headers.get("www-authenticate")).toContain("Bearer");
    expect(await (await fetch(`${base}/jobs`, { headers: BEN })).json()).toMatchObject({ jobs: [] });
  });

  it("cancels by DELETE", async () => {
    const accepted = await submit({ text: "Never." }, { "coatcheck-delay": "3600" });
    const monitor = accepted.headers.get("location") ?? "";
    const canceled = await fetch(monitor, { method: "DELETE", headers: ADA });
    expect(canceled.status).toBe(200);
    expect(await canceled.json()).toMatchObject({ status: "canceled" });
    expect((await fetch(`${monitor}/result`, { headers: ADA })).status).toBe(409);
    const wrong = await fetch(monitor, { method: "PATCH", headers: ADA });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT, DELETE"]);
  });

  it("serves a result under the longest name that an upload may have", async () => {
    const name = `${"ж".repeat(196)}.txt`;
    const headers = {
      ...ADA,
      "content-type": "text/plain",
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(name)}`,
      prefer: "wait=20",
    };
    const answer = await fetch(`${base}/operations/gzip`, { method: "POST", headers, body: "long" });
    expect(answer.status).toBe(200);
    const monitor = answer.headers.get("content-location")?.replace(/\/result$/, "") ?? "";
    const status = await fetch(`${monitor}?redirect=false`, { headers: ADA });
    const { files } = (await status.json()) as { files: { url: string }[] };
    const file = await fetch(files[0]?.url ?? "", { headers: ADA });
    expect(file.status).toBe(200);
    expect(gunzipSync(await file.arrayBuffer()).toString()).toBe("long");
  });

  it("streams a large upload to the disk and a large result from it, keeping neither in memory", async () => {
    const half = randomBytes(MEBIBYTE * 25);
    const upload = open(`${base}/operations/gzip?level=1`, {
      method: "POST",
      headers: { ...ADA, "content-type": "application/octet-stream", "content-length": half.length * 2 },
    });
    const answered = once(upload, "response") as Promise<[IncomingMessage]>;
    const before = heldBytes();
    upload.write(half);
    const files = join(home, "files", "unfinished");
    // What is on the disk before the rest is sent was not gathered first.
    await vi.waitFor(async () => expect(await largest(files)).toBeGreaterThan(half.length * 0.9), 20_000);
    expect(heldBytes() - before).toBeLessThan(15 * MEBIBYTE);
    upload.end(half);
    const [accepted] = await answered;
    accepted.resume();
    expect(accepted.statusCode).toBe(202);

    const monitor = accepted.headers.location ?? "";
    const done = await fetch(monitor, { headers: { ...ADA, prefer: "wait=60" }, redirect: "manual" });
    expect(done.status).toBe(303);
    const { files: listed } = (await done.json()) as { files: { sha256: string; bytes: number }[] };
    const whole = await download(`${monitor}/result`, {});
    expect(whole.paused - before).toBeLessThan(15 * MEBIBYTE);
    expect([whole.bytes, whole.sha256]).toEqual([listed[0]?.bytes, listed[0]?.sha256]);

    const from = 30 * MEBIBYTE;
    const rest = await download(`${monitor}/result`, { range: `bytes=${from}-` });
    expect([rest.status, rest.bytes]).toEqual([206, whole.bytes - from]);
    expect(rest.contentRange).toBe(`bytes ${from}-${whole.bytes - 1}/${whole.bytes}`);
    const past = await fetch(`${monitor}/result`, { headers: { ...ADA, range: `bytes=${whole.bytes}-` } });
    expect(past.status).toBe(416);
  });

  // Which files a process has open is only told there.
  it.runIf(process.platform === "linux")("lets go of the file of a download that breaks off", async () => {
    const body = randomBytes(20 * MEBIBYTE);
    const headers = { ...ADA, "content-type": "application/octet-stream", prefer: "wait=60, return=minimal" };
    const accepted = await fetch(`${base}/operations/gzip?level=1`, { method: "POST", headers, body });
    const result = accepted.headers.get("content-location") ?? "";
    await accepted.body?.cancel();
    await vi.waitFor(async () => expect(await openBlobs(home)).toBe(0), 10_000);
    const answer = await opened(result, {});
    await once(answer, "data");
    expect(await openBlobs(home)).toBe(1);
    answer.destroy();
    await vi.waitFor(async () => expect(await openBlobs(home)).toBe(0), 10_000);
  });
});

describe.each(["fastify.ts", "express.ts", "node-http.ts", "hono.ts"])("%s", (file) => {
  it("runs when started directly, and leaves nothing open when it is told to stop", async () => {
    const home = await mkdtemp(join(tmpdir(), "mounting-"));
    const program = startTied(
      [
        process.execPath,
        "--import",
        fileURLToPath(new URL("../../scripts/typescript.js", import.meta.url)),
        fileURLToPath(new URL(file, import.meta.url)),
      ],
      {
        workingDirectory: home,
        directory: home,
        environment: {
          PORT: `${await freePort()}`,
          TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../tsconfig.json", import.meta.url)),
        },
      },
    );
    const url = await program.line("POST ");
    const submit = (text: string, more: object) =>
      fetch(url, { method: "POST", headers: { ...JSON_BODY, ...more }, body: JSON.stringify({ text }) });
    expect((await submit("Now.", { prefer: "wait=20" })).status).toBe(200);
    const later = await submit("Later.", { "coatcheck-delay": "3600" });
    // A caller that waits and a connection that idles must not keep it.
    const waiting = fetch(later.headers.get("location") ?? "", { headers: { ...ADA, prefer: "wait=60" } });
    const idle = connect(Number(new URL(url).port), "127.0.0.1");
    await once(idle, "connect");
    idle.on("error", () => {}).resume();
    await reached(url);
    process.kill(program.pid, "SIGTERM");
    expect(await (await waiting).json()).toMatchObject({ status: "queued" });
    expect(await program.ended).toMatchObject({ code: 0 });
    idle.destroy();
  });
});

const MEBIBYTE = 1024 ** 2;

/** Resolves once everything sent before is surely in the server's hands. */
async function reached(url: string): Promise<void> {
  await fetch(url, { method: "OPTIONS" });
}

async function largest(folder: string): Promise<number> {
  const names = await readdir(folder);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(folder, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return Math.max(0, ...sizes);
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of buffers that are still in use in this process. */
function heldBytes(): number {
  // The first leaves buffers to a sweep in the background, the second waits for that.
  collect();
  collect();
  return process.memoryUsage().arrayBuffers;
}

async function opened(url: string, headers: Record<string, string>): Promise<IncomingMessage> {
  const request = open(url, { headers: { ...ADA, ...headers } });
  request.end();
  const [answer] = (await once(request, "response")) as [IncomingMessage];
  return answer;
}

/** Reads an answer to its end, with a pause after 5 MiB in which the server's memory is looked at. */
async function download(url: string, headers: Record<string, string>) {
  const answer = await opened(url, headers);
  const hash = createHash("sha256");
  let bytes = 0;
  let paused = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    hash.update(chunk);
    if (paused === 0 && bytes > 5 * MEBIBYTE) paused = heldBytes();
  }
  const { statusCode: status, headers: fields } = answer;
  return { status, bytes, paused, sha256: hash.digest("hex"), contentRange: fields["content-range"] };
}

/** How many files of the blob store this process has open. */
async function openBlobs(home: string): Promise<number> {
  const handles = await readdir("/proc/self/fd");
  const paths = await Promise.all(
    handles.map((handle) => readlink(`/proc/self/fd/${handle}`).catch(() => "")),
  );
  return paths.filter((path) => path.startsWith(join(home, "files"))).length;
}
