// The work of `transcode-video`: one run of ffmpeg in a process of its own, followed by its `-progress` report.

import { basename, extname, join } from "node:path";
import { Failure, type Handler, type InputOf, type StoredFile } from "coatcheck";
import { mediaFile } from "../media.ts";
import { FfmpegEnded, runFfmpeg } from "./ffmpeg.ts";
import type { transcodeVideo } from "./operation.ts";

type Input = InputOf<typeof transcodeVideo>;

// A short compressed video can unfold to any length of noise: past this the job fails instead of filling the disk.
const MAX_OUTPUT_BYTES = 8 * 1024 ** 3;
// 8K is 33 million pixels; a frame beyond it would cost the machine's memory.
const MAX_PIXELS = 40_000_000;

// Containers that hold their video themselves. Playlists (HLS, DASH, concat), image patterns and subtitles are left
// out: they can make ffmpeg open other files of this machine.
const CONTAINERS =
  "mov,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,asf,ogg,gif,h264,hevc,m4v,ivf,dv,mxf,rm,yuv4mpegpipe";

const FORMATS = {
  mp4: { type: "video/mp4", muxer: "mp4", h264: true, options: ["-movflags", "+faststart"] },
  mkv: { type: "video/x-matroska", muxer: "matroska", h264: true, options: [] },
  webm: { type: "video/webm", muxer: "webm", h264: false, options: [] },
} as const;

const H264 = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-c:a", "aac", "-b:a", "128k"];
const VP8_SPEED = ["-deadline", "good", "-cpu-used", "5"];
const VP8 = ["-c:v", "libvpx", ...VP8_SPEED, "-crf", "10", "-b:v", "2M", "-c:a", "libopus"];

const transcode: Handler<Input, StoredFile> = async (input, attempt) => {
  const { source, name } = await sourceOf(input, attempt.upload);
  const format = FORMATS[input.format];
  const target = join(await attempt.scratch(), `video.${input.format}`);
  attempt.progress(0, "Reading the video…");

  let percent = 0;
  try {
    await runFfmpeg(ffmpegArguments(input, source, target), {
      signal: attempt.signal,
      onReport(report, total) {
        if (report.bytes > MAX_OUTPUT_BYTES) throw tooLarge();
        if (total !== null && input.start >= total) throw startsTooLate();
        const expected =
          total === null ? (input.seconds ?? null) : Math.min(total - input.start, input.seconds ?? total);
        // ffmpeg's own times may step back a little between the streams; the last of the way is the file's index.
        if (expected !== null) percent = Math.max(percent, Math.min(99, (100 * report.seconds) / expected));
        attempt.progress(expected === null ? null : percent, describe(report, expected));
      },
    });
  } catch (error) {
    throw error instanceof FfmpegEnded && error.blames === "input" ? unreadable(error) : error;
  }

  const video = await attempt.save(`${name}.${input.format}`, { path: target }, format.type);
  attempt.progress(100, "Transcoded the video.");
  return video;
};

export default transcode;

async function sourceOf(input: Input, upload: Parameters<typeof transcode>[1]["upload"]) {
  if ((input.path === undefined) === (upload === undefined)) {
    throw new Failure(
      "Send a video as the request's file, or the path of one in the media folder: one of both.",
      {
        status: 422,
        type: "one-source",
      },
    );
  }
  const source = upload === undefined ? await mediaFile(input.path ?? "") : await upload.path();
  const given = basename(upload?.name ?? input.path ?? "");
  const name = given.slice(0, given.length - extname(given).length).replace(/[/\\\p{Cc}]/gu, "_");
  return { source, name: name.slice(0, 100) || "video" };
}

function ffmpegArguments(input: Input, source: string, target: string): string[] {
  const format = FORMATS[input.format];
  // H.264 in its most widely played form needs even sides.
  const size = input.height === undefined ? "trunc(iw/2)*2:trunc(ih/2)*2" : `-2:${input.height}`;
  return [
    ...["-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS, "-max_pixels", `${MAX_PIXELS}`],
    ...(input.start > 0 ? ["-ss", `${input.start}`] : []),
    ...["-i", `file:${source}`],
    // The first stream that is a film, not a cover picture; sound if there is any.
    ...["-map", "0:V:0", "-map", "0:a:0?", "-sn", "-dn"],
    ...(input.seconds === undefined ? [] : ["-t", `${input.seconds}`]),
    ...["-vf", `scale=${size}`, "-pix_fmt", "yuv420p"],
    ...(input.fps === undefined ? [] : ["-r", `${input.fps}`]),
    ...(format.h264 ? H264 : VP8),
    ...format.options,
    ...["-max_muxing_queue_size", "1024", "-f", format.muxer, `file:${target}`],
  ];
}

function describe(report: { seconds: number; speed: number | null }, expected: number | null): string {
  const of = expected === null ? "" : ` of ${clock(expected)}`;
  const speed = report.speed === null ? "" : `, ${report.speed.toPrecision(2)}× speed`;
  return `Transcoding video… ${clock(report.seconds)}${of}${speed}`;
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (h > 0 ? [h, m, s] : [m, s]).map((part) => String(part).padStart(2, "0")).join(":");
}

const unreadable = (cause: unknown) =>
  new Failure("The file is not a video that can be read.", { status: 422, type: "unreadable-video", cause });
const startsTooLate = () =>
  new Failure("The video ends before `start`.", { status: 422, type: "start-beyond-end" });
const tooLarge = () =>
  new Failure("The transcoded video would be larger than 8 GiB.", { status: 422, type: "video-too-large" });
