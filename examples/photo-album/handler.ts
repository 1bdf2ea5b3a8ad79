// The work of `photo-album`: one picture after the other, so that memory holds one of them at a time.

import { createReadStream, type ReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { addAbortSignal, type Readable } from "node:stream";
import { Failure, type Handler, type InputOf, type OutputOf } from "coatcheck";
import sharp from "sharp";
import { ZipFile } from "yazl";
import { mediaFolder } from "../media.ts";
import type { photoAlbum } from "./operation.ts";
import { type Pictures, picturesIn, picturesOfZip, Unreadable } from "./pictures.ts";
import { ContactSheet } from "./sheet.ts";
import { decode, jpeg } from "./thumbnail.ts";

type Input = InputOf<typeof photoAlbum>;
type Output = OutputOf<typeof photoAlbum>;
type Attempt = Parameters<typeof makeAlbum>[1];

interface Packed {
  readonly path: string;
  readonly name: string;
}

const MAX_LISTED = 200;

// One thread of libvips and none of its caches: its memory is one picture's, and the server keeps the other cores.
sharp.concurrency(1);
sharp.cache(false);

const makeAlbum: Handler<Input, Output> = async (input, attempt) => {
  if ((input.folder === undefined) === (attempt.upload === undefined)) {
    throw new Failure("Send a zip as the request's file, or a folder of the media folder: one of both.", {
      status: 422,
      type: "one-source",
    });
  }
  attempt.progress(0, "Looking for pictures…");
  const source =
    attempt.upload === undefined
      ? await picturesIn(await mediaFolder(input.folder ?? ""))
      : await picturesOfZip(await attempt.upload.path());
  try {
    return await albumOf(source, input, attempt);
  } finally {
    source.close();
  }
};

export default makeAlbum;

async function albumOf(source: Pictures, input: Input, attempt: Attempt): Promise<Output> {
  const scratch = await attempt.scratch();
  const sheet = new ContactSheet({ folder: scratch, title: input.title, expected: source.pictures.length });
  const thumbnails: Packed[] = [];
  const skipped: Output["skipped"] = [];

  for (const [index, picture] of source.pictures.entries()) {
    attempt.signal.throwIfAborted();
    try {
      const pixels = await decode(await picture.read(), input.thumbnail);
      const path = join(scratch, `thumbnail-${index}.jpg`);
      await writeFile(path, await jpeg(pixels));
      thumbnails.push({ path, name: thumbnailName(picture.name, thumbnails.length + 1) });
      await sheet.add(pixels, basename(picture.name));
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      skipped.push({ name: picture.name.slice(-255), reason: error.message });
    }
    const count = `${index + 1} of ${source.pictures.length}`.replace(/\d{4,}/g, (n) =>
      Number(n).toLocaleString("en"),
    );
    attempt.progress((90 * (index + 1)) / source.pictures.length, `Making thumbnails… ${count}`);
  }
  const listed = skipped.slice(0, MAX_LISTED);
  if (thumbnails.length === 0) {
    throw new Failure("None of the files is a picture that can be read.", {
      status: 422,
      type: "no-pictures",
      extensions: { skipped: listed },
    });
  }

  attempt.progress(90, "Packing the album…");
  const pages = await sheet.finish();
  // First the zip, which reads the pages: saving a page moves it away.
  const packed = await pack([...pages, ...thumbnails], attempt);
  const saved = [];
  for (const page of pages) saved.push(await attempt.save(page.name, { path: page.path }, "image/jpeg"));
  attempt.progress(100, `Made an album of ${thumbnails.length.toLocaleString("en")} pictures.`);
  return {
    pictures: thumbnails.length,
    skippedPictures: skipped.length,
    skipped: listed,
    files: [...saved, packed].map((file) => file.name),
  };
}

async function pack(files: readonly Packed[], attempt: Attempt) {
  const zip = new ZipFile();
  const stream = zip.outputStream as Readable;
  let reading: ReadStream | undefined;
  // What goes wrong inside of the zip is told by the zip alone: whoever reads the stream must not wait for ever.
  const fail = (error: Error) => stream.destroy(error);
  zip.on("error", fail);
  for (const { path, name } of files) {
    // Deflate gains nothing on JPEG, but a stored entry of unknown length is more than some readers of zips can do.
    zip.addReadStreamLazy(name, { compressionLevel: 1 }, (give) => {
      reading = createReadStream(path).on("error", fail);
      give(null, reading);
    });
  }
  zip.end();
  addAbortSignal(attempt.signal, stream);
  try {
    return await attempt.save("album.zip", { stream }, "application/zip");
  } catch (error) {
    // An aborted stream has an error of its own; what counts is why.
    attempt.signal.throwIfAborted();
    throw error;
  } finally {
    reading?.destroy();
  }
}

// The picture's own name is a stranger's text: only letters, digits and harmless signs of it go into a path.
function thumbnailName(name: string, number: number): string {
  const own = basename(name, extname(name)).replace(/[^\p{L}\p{N}_ -]/gu, "_");
  return `thumbnails/${String(number).padStart(4, "0")}-${[...own].slice(0, 80).join("")}.jpg`;
}
