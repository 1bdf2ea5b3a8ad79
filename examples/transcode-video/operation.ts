// `transcode-video`: a video in, a video of another format, size or length out.

import { defineOperation, RELATIVE_PATH } from "coatcheck";
import { z } from "zod";

export const transcodeVideo = defineOperation({
  name: "transcode-video",
  title: "Transcode a video",
  description:
    "Takes a video as the request's file, or the name of one in the server's media folder, and gives back a video " +
    "that browsers play.",
  input: z.object({
    path: z
      .string()
      .max(1024)
      .regex(RELATIVE_PATH, 'must be a relative path like "clips/a.mp4", without ".."')
      .optional()
      .describe("A video in the server's media folder; leave it out where a file is sent."),
    format: z
      .enum(["mp4", "webm", "mkv"])
      .default("mp4")
      .describe("mp4 and mkv are H.264 and AAC, webm is VP8 and Opus."),
    height: z
      .int()
      .min(16)
      .max(2160)
      .multipleOf(2)
      .optional()
      .describe("Height in pixels; the width follows. Default: as it is."),
    fps: z.number().min(1).max(120).optional().describe("Frames per second. Default: as it is."),
    start: z.number().min(0).max(86_400).default(0).describe("Where to begin, in seconds."),
    seconds: z
      .number()
      .min(0.1)
      .max(86_400)
      .optional()
      .describe("How much to take, in seconds. Default: to the end."),
  }),
  file: { types: ["video/*", "application/octet-stream"], maxBytes: 4 * 1024 ** 3 },
  timeout: "2h",
});
