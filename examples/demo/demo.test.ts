import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTied } from "../../test/process.ts";

const source = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

describe("the demo, where its output is no terminal", () => {
  let home: string;
  let code: number | null;
  let output: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "demo-"));
    const demo = startTied(
      [process.execPath, "--import", source("scripts/typescript.js"), source("examples/demo.ts")],
      {
        workingDirectory: home,
        environment: { TSX_TSCONFIG_PATH: source("tsconfig.json"), TMPDIR: home },
      },
    );
    ({ code, output } = await demo.ended);
  }, 180_000);

  afterAll(() => rm(home, { recursive: true, force: true }));

  /** The lines of the answer to the nth request that begins so. */
  function answerTo(request: string, nth = 0): string {
    const after = output.split(`  → ${request}`)[nth + 1] ?? "";
    return after.slice(after.indexOf("  ← "), after.indexOf("\n\n"));
  }

  it("ends well, in plain lines", () => {
    expect(output).toContain("Saved in ./demo-output");
    expect(code).toBe(0);
    expect(output.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
    expect(output.split("\n").length).toBeLessThan(200);
  });

  it("shows each submit with its 202, and that a key twice is one job", () => {
    for (const operation of [
      "transcode-video?height=360",
      "photo-album?title=Rome",
      "photo-album?title=Oslo",
    ]) {
      const answer = answerTo(`POST /operations/${operation}`);
      expect(answer).toMatch(/^ {2}← 202 Accepted .*\n {6}Location: http:.*\n {6}Retry-After: \d+$/);
    }
    const first = answerTo("POST /operations/render-report");
    const again = answerTo("POST /operations/render-report", 1);
    expect(first).not.toContain("Idempotency-Replayed");
    expect(again).toContain("\n      Idempotency-Replayed: true");
    const locationOf = (answer: string) => /Location: (.*)/.exec(answer)?.[1];
    expect(locationOf(again)).toBe(locationOf(first));
  });

  it("tells where each job stands, and follows it by its 303 to the result", () => {
    const monitors = [...output.matchAll(/← 202 .*\n +Location: http:\/\/[^/]+(\S+)/g)].map(
      ([, path]) => path,
    );
    expect(new Set(monitors).size).toBe(4);
    for (const monitor of monitors) {
      expect(output).toMatch(
        new RegExp(`→ GET ${monitor}\\n {2}← 303 See Other .*\\n +Location: .*/result\\n`),
      );
      expect(answerTo(`GET ${monitor}/result\n`)).toMatch(/^ {2}← 200 OK/);
    }
    for (const label of ["transcode-video", "render-report", "album of Rome", "album of Oslo"]) {
      expect(output).toMatch(new RegExp(`^ {2}${label}: .*(?:\\d s left|any moment)`, "m"));
      expect(output).toMatch(new RegExp(`^✓ ${label} is ready after [\\d.]+ s, asked `, "m"));
    }
    // Albums are made one at a time.
    expect(output).toMatch(/^ {2}album of Oslo: number 1 in line, /m);
  });

  it("saves what the jobs made, of the types that they should be", async () => {
    const begins = async (path: string) => (await readFile(join(home, "demo-output", path))).subarray(0, 8);
    expect((await begins("transcode-video/clip.mp4")).toString("latin1", 4)).toBe("ftyp");
    expect((await begins("render-report/report.pdf")).toString("latin1")).toMatch(/^%PDF-1/);
    expect((await begins("render-report/report.csv")).toString("latin1")).toMatch(/^[a-z_]+/);
    for (const city of ["Rome", "Oslo"]) {
      expect((await begins(`album-of-${city}/album.zip`)).toString("hex")).toMatch(/^504b0304/);
      expect((await begins(`album-of-${city}/contact-sheet.jpg`)).toString("hex")).toMatch(/^ffd8ff/);
    }
    expect(output).toMatch(/^ +[\d.]+ MB {2}transcode-video\/clip\.mp4$/m);
  });

  it("leaves nothing behind but these", async () => {
    // tsx keeps a cache there.
    const left = (await readdir(home)).filter((name) => !name.startsWith("tsx-"));
    expect(left).toEqual(["demo-output"]);
    await expect(fetch(/It listens on (\S+),/.exec(output)?.[1] ?? "")).rejects.toThrow("fetch failed");
  });
});
