// What the demo hands in: a clip that ffmpeg draws, and zips of picture postcards.

import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import sharp from "sharp";
import { ZipFile } from "yazl";
import { runFfmpeg } from "../transcode-video/ffmpeg.ts";

/** The files, by their paths. */
export interface Material {
  readonly clip: string;
  readonly rome: string;
  readonly oslo: string;
}

const CLIP_SECONDS = 24;
const POSTCARDS = 90;

export async function makeMaterial(folder: string): Promise<Material> {
  const material = {
    clip: join(folder, "clip.mp4"),
    rome: join(folder, "rome.zip"),
    oslo: join(folder, "oslo.zip"),
  };
  await Promise.all([
    makeClip(material.clip, CLIP_SECONDS),
    makePostcards(material.rome, POSTCARDS, 20),
    makePostcards(material.oslo, POSTCARDS, 190),
  ]);
  return material;
}

/** Makes a clip of moving colours with a rising tone. */
function makeClip(path: string, seconds: number): Promise<void> {
  const picture = `testsrc2=size=960x540:rate=25:duration=${seconds}`;
  const sound = `aevalsrc=sin(2*PI*(220*t+4*t*t)):duration=${seconds}`;
  return runFfmpeg(
    ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound].concat(
      ["-c:v", "mpeg4", "-q:v", "6", "-c:a", "aac", "-b:a", "96k"],
      [path],
    ),
  );
}

/** Makes a zip of postcards: a sun over hills, each in colours of its own. */
async function makePostcards(path: string, count: number, hue: number): Promise<void> {
  const zip = new ZipFile();
  const written = pipeline(zip.outputStream, createWriteStream(path));
  for (let number = 1; number <= count; number++) {
    const jpeg = await sharp(Buffer.from(postcard(number, count, hue)))
      .jpeg({ quality: 85 })
      .toBuffer();
    zip.addBuffer(jpeg, `postcard-${String(number).padStart(2, "0")}.jpg`, { compress: false });
  }
  zip.end();
  await written;
}

function postcard(number: number, count: number, hue: number): string {
  const share = number / count;
  const sky = (hue + 80 * share) % 360;
  const hill = (x: number, y: number, light: number) =>
    `<ellipse cx="${x}" cy="1150" rx="900" ry="${y}" fill="hsl(${(sky + 130) % 360},35%,${light}%)"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="1600" height="1100">
    <defs><linearGradient id="sky" x2="0" y2="1">
      <stop stop-color="hsl(${sky},70%,${35 + 20 * share}%)"/>
      <stop offset="1" stop-color="hsl(${(sky + 50) % 360},85%,80%)"/>
    </linearGradient></defs>
    <rect width="1600" height="1100" fill="url(#sky)"/>
    <circle cx="${200 + 1200 * share}" cy="${700 - 450 * Math.sin(Math.PI * share)}" r="90" fill="#fff8dc"/>
    ${hill(300, 430, 38)}${hill(1400, 360, 32)}${hill(850, 250, 25)}
  </svg>`;
}
