// From a stranger's bytes to a small upright picture.

import sharp, { type Sharp } from "sharp";
import { Unreadable } from "./pictures.ts";

/** Pixels in memory: rows of 8-bit RGB. */
export interface Pixels {
  readonly data: Buffer;
  readonly width: number;
  readonly height: number;
}

// Some formats must be unpacked as a whole: 64 megapixels of RGB are 200 MB.
const MAX_PIXELS = 64_000_000;
const TIMEOUT_SECONDS = 30;

/** Decodes a picture, no side longer than `size`. Rejects with `Unreadable` where it is none or is broken. */
export async function decode(bytes: Buffer, size: number): Promise<Pixels> {
  if (bytes.length === 0) throw new Unreadable("It is empty.");
  if (!isPicture(bytes)) throw new Unreadable("It is not a JPEG, PNG, WebP, GIF, TIFF or AVIF picture.");
  try {
    const { data, info } = await sharp(bytes, {
      limitInputPixels: MAX_PIXELS,
      failOn: "error",
      sequentialRead: true,
    })
      .timeout({ seconds: TIMEOUT_SECONDS })
      .autoOrient()
      .resize(size, size, { fit: "inside", withoutEnlargement: true })
      .flatten({ background: "#fff" })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    return { data: info.channels === 1 ? tripled(data) : data, width: info.width, height: info.height };
  } catch (error) {
    const text = String(error);
    if (/pixel limit/i.test(text)) throw new Unreadable("It has more than 64 megapixels.");
    if (/timeout/i.test(text)) throw new Unreadable(`It took longer than ${TIMEOUT_SECONDS} seconds.`);
    throw new Unreadable("It is damaged.");
  }
}

export function jpeg(pixels: Pixels): Promise<Buffer> {
  return image(pixels).jpeg({ quality: 80 }).toBuffer();
}

/** The same picture, no side longer than `size`. */
export async function shrink(pixels: Pixels, size: number): Promise<Pixels> {
  if (pixels.width <= size && pixels.height <= size) return pixels;
  const small = image(pixels).resize(size, size, { fit: "inside" }).raw();
  const { data, info } = await small.toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}

export function image({ data, width, height }: Pixels): Sharp {
  return sharp(data, { raw: { width, height, channels: 3 } });
}

// By their first bytes, before the decoder guesses for itself: it would also take SVG and other formats that are programs
// or refer to other files.
function isPicture(bytes: Buffer): boolean {
  const head = bytes.toString("latin1", 0, 12);
  return (
    head.startsWith("\xff\xd8\xff") ||
    head.startsWith("\x89PNG\r\n\x1a\n") ||
    /^GIF8[79]a/.test(head) ||
    /^RIFF.{4}WEBP/s.test(head) ||
    head.startsWith("II*\0") ||
    head.startsWith("MM\0*") ||
    /^.{4}ftyp(?:avif|avis|mif1)/s.test(head)
  );
}

function tripled(grey: Buffer): Buffer {
  const data = Buffer.allocUnsafe(grey.length * 3);
  for (let index = 0; index < grey.length; index++) data.fill(grey[index] ?? 0, index * 3, index * 3 + 3);
  return data;
}
