// Where an album's pictures come from: a folder, or a zip that a stranger made.

import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { Failure } from "coatcheck";
import { type Entry, openPromise, type ZipFile } from "yauzl";

/** A file that may be a picture. */
export interface Picture {
  /** As in the zip or below the folder, with slashes; for people, never to be opened. */
  readonly name: string;
  /** All its bytes. Rejects with `Unreadable`. */
  read(): Promise<Buffer>;
}

/** In the order that people expect: `2.jpg` before `10.jpg`. */
export interface Pictures {
  readonly pictures: readonly Picture[];
  close(): void;
}

/** One file is left out; the message says why. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

// Enough for a photographer's year, and a list of names of some megabytes.
const MAX_FILES = 10_000;
const MAX_NAMES_BYTES = 8 * 1024 ** 2;
// A photograph of 60 megapixels has about 30 MB.
const MAX_PICTURE_BYTES = 64 * 1024 ** 2;
// A zip of 10 MB can claim to hold petabytes; each byte of it would be unpacked.
const MAX_UNPACKED_BYTES = 16 * 1024 ** 3;

/** The files in a folder and the folders in it. Symbolic links are not followed: they may lead anywhere. */
export async function picturesIn(folder: string): Promise<Pictures> {
  const pictures: Picture[] = [];
  const folders = [""];
  for (let below = folders.pop(); below !== undefined; below = folders.pop()) {
    for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
      const name = below === "" ? entry.name : `${below}/${entry.name}`;
      if (isJunk(name)) continue;
      if (entry.isDirectory()) folders.push(name);
      if (entry.isFile()) pictures.push({ name, read: () => readFile(join(folder, name)) });
      if (pictures.length + folders.length > MAX_FILES) throw tooMany();
    }
  }
  return { pictures: pictures.sort(byName), close() {} };
}

/** The files in a zip. Nothing of it is ever written under a name that it gives. */
export async function picturesOfZip(path: string): Promise<Pictures> {
  const zip = await openPromise(path, {
    lazyEntries: true,
    autoClose: false,
    validateEntrySizes: true,
  }).catch((cause) => {
    throw new Failure("The file is not a zip archive.", { status: 422, type: "not-a-zip", cause });
  });
  try {
    const entries = await filesOf(zip);
    const pictures = entries.map((entry) => ({ name: entry.fileName, read: () => unpack(zip, entry) }));
    return { pictures: pictures.sort(byName), close: () => zip.close() };
  } catch (error) {
    zip.close();
    throw error;
  }
}

async function filesOf(zip: ZipFile): Promise<Entry[]> {
  if (zip.entryCount > MAX_FILES) throw tooMany();
  const entries: Entry[] = [];
  let namesBytes = 0;
  let unpackedBytes = 0;
  try {
    for await (const entry of zip.eachEntry()) {
      namesBytes += entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength;
      if (entries.length >= MAX_FILES || namesBytes > MAX_NAMES_BYTES) throw tooMany();
      if (entry.fileName.endsWith("/") || isJunk(entry.fileName)) continue;
      unpackedBytes += entry.uncompressedSize;
      if (unpackedBytes > MAX_UNPACKED_BYTES) throw tooLarge();
      entries.push(entry);
    }
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    // Among them names such as "../a.jpg" and "/a.jpg", which no honest zip has.
    throw new Failure("The zip archive is damaged.", { status: 422, type: "damaged-zip", cause });
  }
  return entries;
}

async function unpack(zip: ZipFile, entry: Entry): Promise<Buffer> {
  if (entry.uncompressedSize > MAX_PICTURE_BYTES) throw largerThanAllowed();
  if (entry.isEncrypted()) throw new Unreadable("It is encrypted.");
  if (!entry.canDecodeFileData()) throw new Unreadable("It is packed in a way that is not supported.");
  const chunks: Buffer[] = [];
  try {
    // yauzl ends the stream with an error as soon as there are more bytes than the entry said.
    for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
  } catch {
    throw new Unreadable("It can't be unpacked.");
  }
  return Buffer.concat(chunks);
}

async function readFile(path: string): Promise<Buffer> {
  // No following of a link that took the file's place since the folder was read (Windows has no such flag).
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0);
  const file = await open(path, flags).catch(() => {
    throw new Unreadable("It can't be opened.");
  });
  try {
    if ((await file.stat()).size > MAX_PICTURE_BYTES) throw largerThanAllowed();
    return await file.readFile();
  } finally {
    await file.close();
  }
}

// What operating systems leave beside pictures.
function isJunk(name: string): boolean {
  return basename(name).startsWith(".") || /(?:^|\/)(?:__MACOSX\/|Thumbs\.db$|desktop\.ini$)/i.test(name);
}

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a: Picture, b: Picture) => collator.compare(a.name, b.name);

const largerThanAllowed = () => new Unreadable("It is larger than 64 MiB.");
const tooMany = () =>
  new Failure("An album has at most 10,000 files.", { status: 422, type: "too-many-pictures" });
const tooLarge = () =>
  new Failure("The zip's content is larger than 16 GiB.", { status: 422, type: "album-too-large" });
