import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure, Interruption } from "coatcheck";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { compileSchema } from "../../src/core/schema.ts";
import { type RehearsalOptions, rehearse } from "../rehearse.ts";
import { runFfmpeg } from "./ffmpeg.ts";
import handler from "./handler.ts";
import { transcodeVideo } from "./operation.ts";

const CLIP_SECONDS = 12;
let home: string;
let clip: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "transcode-video-"));
  clip = join(home, "clip.mp4");
  const picture = ["-f", "lavfi", "-i", `testsrc=size=322x181:rate=25:duration=${CLIP_SECONDS}`];
  const sound = ["-f", "lavfi", "-i", `sine=frequency=440:duration=${CLIP_SECONDS}`];
  await runFfmpeg([...picture, ...sound, "-c:v", "mpeg4", "-c:a", "aac", clip]);
  await mkdir(join(home, "media", "clips"), { recursive: true });
  await copyFile(clip, join(home, "media", "clips", "a.mp4"));
  await symlink(clip, join(home, "media", "clips", "link.mp4"));
  vi.stubEnv("COATCHECK_MEDIA", join(home, "media"));
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(home, { recursive: true, force: true });
});

async function transcode(input: Record<string, unknown>, options: RehearsalOptions<unknown> = {}) {
  const run = await rehearse(handler, transcodeVideo.input!.parse(input), options);
  onTestFinished(() => run.remove());
  return run;
}

const upload = () => ({ path: clip, name: "summer.holiday.mov", type: "video/quicktime" });

/** Decodes every frame and says what was in the file. */
async function decode(path: string) {
  let seen = { seconds: 0, frames: 0 };
  await runFfmpeg(["-xerror", "-i", path, "-f", "null", "-"], {
    onReport(report) {
      seen = report;
    },
  });
  return seen;
}

async function failureOf(input: Record<string, unknown>, options: RehearsalOptions<unknown> = {}) {
  const { error, saved } = await transcode(input, options);
  expect(error).toBeInstanceOf(Failure);
  expect(saved).toEqual([]);
  const failure = error as Failure;
  expect(failure.message).not.toMatch(/\/|tmp/);
  return { status: failure.status, type: failure.type };
}

describe("transcode-video", () => {
  it("makes an mp4 that plays from its first bytes on, and gives it as the result", async () => {
    const run = await transcode({}, { upload: upload() });
    expect(run.output).toMatchObject({ name: "summer.holiday.mp4", type: "video/mp4" });
    const { seconds, frames } = await decode(run.path("summer.holiday.mp4"));
    expect(frames).toBe(CLIP_SECONDS * 25);
    expect(seconds).toBeCloseTo(CLIP_SECONDS, 0);
    const bytes = await readFile(run.path("summer.holiday.mp4"));
    expect(bytes.indexOf("moov")).toBeLessThan(bytes.indexOf("mdat"));
  });

  it("reports progress that only rises, to 100, in words that say how far it is", async () => {
    const { progress } = await transcode({ height: 90 }, { upload: upload() });
    const percents = progress.map((report) => report.percent ?? Number.NaN);
    expect(percents).toEqual([...percents].sort((a, b) => a - b));
    expect(percents[0]).toBe(0);
    expect(percents.at(-1)).toBe(100);
    expect(percents.length).toBeGreaterThanOrEqual(3);
    for (const { message } of progress.slice(1, -1)) {
      expect(message).toMatch(/^Transcoding video… 00:\d\d of 00:12(, [\d.e+]+× speed)?$/);
    }
  });

  it.each([
    { format: "webm", type: "video/webm", magic: "webm" },
    { format: "mkv", type: "video/x-matroska", magic: "matroska" },
  ])("cuts, shrinks and slows a file of the media folder into $format", async ({ format, type, magic }) => {
    const run = await transcode({ path: "clips/a.mp4", format, height: 90, fps: 10, start: 5, seconds: 3 });
    expect(run.output).toMatchObject({ name: `a.${format}`, type });
    expect((await decode(run.path(`a.${format}`))).frames).toBeCloseTo(30, -1);
    expect((await readFile(run.path(`a.${format}`))).subarray(0, 64).toString("latin1")).toContain(magic);
    expect(run.progress.at(-2)?.message).toMatch(/ of 00:03/);
  });

  it("stops ffmpeg when it is canceled, and keeps nothing", async () => {
    const controller = new AbortController();
    const reason = new Interruption("canceled");
    const run = await transcode(
      { fps: 120, height: 720 },
      {
        upload: upload(),
        signal: controller.signal,
        onProgress: ({ message }) => message?.startsWith("Transcoding") && controller.abort(reason),
      },
    );
    expect(run.error).toBe(reason);
    expect(run.saved).toEqual([]);
  });

  it("fails for good, with 422, on files that are no video", async () => {
    const files = {
      "noise.mp4": Buffer.alloc(100_000, "not a video "),
      "empty.mp4": Buffer.alloc(0),
      "cut.mp4": (await readFile(clip)).subarray(0, 20_000),
      "list.txt": Buffer.from(`ffconcat version 1.0\nfile '${clip}'\n`),
    };
    for (const [name, bytes] of Object.entries(files)) {
      const path = join(home, name);
      await writeFile(path, bytes);
      expect(await failureOf({}, { upload: { path } }), name).toEqual({
        status: 422,
        type: "unreadable-video",
      });
    }
  });

  it("fetches nothing from the network or the disk that an uploaded playlist names", async () => {
    let requests = 0;
    const server = createServer((_, response) => {
      requests++;
      response.end();
    });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const segment = join(home, "segment.ts");
    await runFfmpeg(["-i", clip, "-c:v", "mpeg2video", segment]);
    for (const target of [`${address}/a.ts`, `file://${segment}`, segment, "segment.ts"]) {
      const path = join(home, "playlist.m3u8");
      await writeFile(path, `#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n${target}\n#EXT-X-ENDLIST\n`);
      expect((await failureOf({}, { upload: { path } })).type, target).toBe("unreadable-video");
    }
    expect(requests).toBe(0);
  });

  it("fails for good where the file is missing, a folder, or a link out of the media folder", async () => {
    for (const path of ["clips/b.mp4", "clips", "clips/link.mp4"]) {
      expect(await failureOf({ path }), path).toEqual({ status: 422, type: "no-such-media" });
    }
  });

  it("fails for good where the video ends before the start, and where it gets no source or two", async () => {
    expect(await failureOf({ start: 60 }, { upload: upload() })).toEqual({
      status: 422,
      type: "start-beyond-end",
    });
    expect(await failureOf({})).toEqual({ status: 422, type: "one-source" });
    expect(await failureOf({ path: "clips/a.mp4" }, { upload: upload() })).toEqual({
      status: 422,
      type: "one-source",
    });
  });

  it.each([
    { path: "../a.mp4" },
    { path: "/etc/passwd" },
    { path: "clips/../../a.mp4" },
    { path: "clips\\a.mp4" },
    { path: "a\0.mp4" },
    { path: "http://127.0.0.1/a.mp4" },
    { format: "exe" },
    { height: 0 },
    { height: 91 },
    { height: 100_000 },
    { fps: 0 },
    { start: -1 },
    { seconds: 0 },
    { start: "1; ls" },
    { codec: "copy" },
  ])("refuses %j before it is accepted", async (input) => {
    const checked = await compileSchema(transcodeVideo.input!, "input").check(input);
    expect(checked).toHaveProperty("errors");
  });

  it("takes an empty input, with its defaults", async () => {
    const checked = await compileSchema(transcodeVideo.input!, "input").check({});
    expect(checked).toEqual({ value: { format: "mp4", start: 0 } });
  });
});

describe("runFfmpeg", () => {
  const endless = ["-f", "lavfi", "-i", "testsrc", "-f", "null", "-"];

  it("ends an endless run when its signal fires", async () => {
    const controller = new AbortController();
    const run = runFfmpeg(endless, { signal: controller.signal, onReport: () => controller.abort("enough") });
    await expect(run).rejects.toBe("enough");
  });

  it("ends an endless run when a report is not liked", async () => {
    const dislike = () => {
      throw new RangeError("no more");
    };
    await expect(runFfmpeg(endless, { onReport: dislike })).rejects.toThrow("no more");
  });

  it("kills a program that does not listen", async () => {
    const program = join(home, "deaf");
    const deaf =
      'process.on("SIGTERM", () => {}); console.log("progress=continue"); setInterval(() => {}, 1000);';
    await writeFile(program, `#!/usr/bin/env node\n${deaf}\n`, { mode: 0o755 });
    const controller = new AbortController();
    const run = runFfmpeg([], {
      program,
      signal: controller.signal,
      onReport: () => controller.abort("enough"),
    });
    await expect(run).rejects.toBe("enough");
  });

  it("blames the machine where there is no such program", async () => {
    await expect(runFfmpeg([], { program: join(home, "absent") })).rejects.toMatchObject({
      blames: "machine",
    });
  });

  it("does not start once its signal has fired", async () => {
    await expect(runFfmpeg(endless, { signal: AbortSignal.abort("late") })).rejects.toBe("late");
  });
});
