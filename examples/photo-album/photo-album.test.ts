import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Failure, Interruption } from "coatcheck";
import sharp, { type Color } from "sharp";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openPromise } from "yauzl";
import { ZipFile } from "yazl";
import { compileSchema } from "../../src/core/schema.ts";
import { type RehearsalOptions, rehearse } from "../rehearse.ts";
import handler from "./handler.ts";
import { photoAlbum } from "./operation.ts";
import { decode } from "./thumbnail.ts";

let home: string;
let photo: Buffer;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "photo-album-"));
  vi.stubEnv("COATCHECK_MEDIA", home);
  photo = await plain(60, 40, "#c03060").jpeg().toBuffer();
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(home, { recursive: true, force: true });
});

const plain = (width: number, height: number, background: Color) =>
  sharp({ create: { width, height, channels: 3, background } });

async function album(input: Record<string, unknown>, options: RehearsalOptions<unknown> = {}) {
  const run = await rehearse(handler, photoAlbum.input!.parse(input), options);
  onTestFinished(() => run.remove());
  const { error, saved, progress, path } = run;
  return {
    error,
    saved,
    progress,
    path,
    result: error === undefined ? photoAlbum.output!.parse(run.output) : null,
  };
}

async function failureOf(input: Record<string, unknown>, options: RehearsalOptions<unknown> = {}) {
  const { error, saved } = await album(input, options);
  expect(error).toBeInstanceOf(Failure);
  expect(saved).toEqual([]);
  const failure = error as Failure;
  expect(failure.message).not.toContain(home);
  return { status: failure.status, type: failure.type };
}

async function folderOf(files: Readonly<Record<string, Buffer | string>>): Promise<string> {
  const path = await mkdtemp(join(home, "folder-"));
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), bytes);
  }
  return path.slice(home.length + 1);
}

async function zipOf(files: Readonly<Record<string, Buffer>>, change: (zip: Buffer) => void = () => {}) {
  const zip = new ZipFile();
  for (const [name, bytes] of Object.entries(files))
    zip.addBuffer(bytes, name, { compress: bytes.length > 0 });
  zip.end();
  const path = join(await mkdtemp(join(home, "zip-")), "pictures.zip");
  await pipeline(zip.outputStream, createWriteStream(path));
  const bytes = await readFile(path);
  change(bytes);
  await writeFile(path, bytes);
  return { upload: { path, type: "application/zip" } };
}

/** Has every entry of a zip claim another length once unpacked, as a zip bomb may. */
const claim = (bytes: number) => (zip: Buffer) => {
  // The central directory's signature; the length stands 24 bytes on (APPNOTE 4.3.12).
  for (let at = zip.indexOf("PK\x01\x02"); at >= 0; at = zip.indexOf("PK\x01\x02", at + 1)) {
    zip.writeUInt32LE(bytes, at + 24);
  }
};

const renamed = (from: string, to: string) => (zip: Buffer) => {
  for (let at = zip.indexOf(from); at >= 0; at = zip.indexOf(from)) zip.write(to, at);
};

async function unzip(path: string): Promise<Map<string, Buffer>> {
  const zip = await openPromise(path, { lazyEntries: true, autoClose: false });
  const files = new Map<string, Buffer>();
  for await (const entry of zip.eachEntry()) {
    const chunks: Buffer[] = [];
    for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
    files.set(entry.fileName, Buffer.concat(chunks));
  }
  zip.close();
  return files;
}

async function colourAt(bytes: Buffer, left: number, top: number): Promise<number[]> {
  return [...(await sharp(bytes).extract({ left, top, width: 1, height: 1 }).raw().toBuffer())];
}

const near = (colour: readonly number[]) => colour.map((part) => expect.closeTo(part, -1));

describe("photo-album", () => {
  it("makes an album of 1,000 pictures, one after the other, and lists those that are broken", async () => {
    const shade = (n: number) => ({ r: (n % 97) * 2, g: 200 - (n % 97) * 2, b: 128 });
    const made: Buffer[] = [];
    for (let n = 0; n < 97; n++) {
      made.push(
        await plain(n % 3 === 0 ? 240 : 320, 320, shade(n))
          .jpeg()
          .toBuffer(),
      );
    }
    const files: Record<string, Buffer> = {};
    for (let n = 1; n <= 1000; n++) files[`IMG_${n}.jpg`] = made[n % 97]!;
    const tricky = { "cut.jpg": files["IMG_1.jpg"]!.subarray(0, 700), "empty.png": Buffer.alloc(0) };
    const folder = await folderOf({ ...files, ...tricky, "notes.txt": "not a picture" });
    let mostBytes = 0;
    const run = await album(
      { folder },
      {
        onProgress() {
          mostBytes = Math.max(mostBytes, process.memoryUsage().external);
        },
      },
    );

    const pages = Array.from(
      { length: 10 },
      (_, page) => `contact-sheet-${String(page + 1).padStart(2, "0")}.jpg`,
    );
    expect(run.result).toEqual({
      pictures: 1000,
      skippedPictures: 3,
      skipped: [
        { name: "cut.jpg", reason: "It is damaged." },
        { name: "empty.png", reason: "It is empty." },
        { name: "notes.txt", reason: "It is not a JPEG, PNG, WebP, GIF, TIFF or AVIF picture." },
      ],
      files: [...pages, "album.zip"],
    });
    expect(run.saved.map((file) => file.name).sort()).toEqual(["album.zip", ...pages]);

    const packed = await unzip(run.path("album.zip"));
    expect(packed.size).toBe(1010);
    expect(packed.get(pages[4]!)).toEqual(await readFile(run.path(pages[4]!)));
    // People's order: 2 before 10.
    const last = packed.get("thumbnails/1000-IMG_1000.jpg")!;
    expect(await sharp(last).metadata()).toMatchObject({ format: "jpeg", width: 240, height: 320 });
    // Picture 512 is in the sixth page's second row, second column.
    const { r, g, b } = shade(512);
    const cell = [14 + 194 + 90, 64 + 218 + 90] as const;
    expect(await colourAt(await readFile(run.path(pages[5]!)), ...cell)).toEqual(near([r, g, b]));

    const percents = run.progress.map((report) => report.percent ?? Number.NaN);
    expect(percents).toEqual([...percents].sort((one, other) => one - other));
    expect(percents.at(-1)).toBe(100);
    expect(run.progress.map((report) => report.message)).toContain("Making thumbnails… 312 of 1,003");
    // All pictures at once would be 300 MB.
    expect(mostBytes).toBeLessThan(150e6);
  }, 120_000);

  it("takes a zip, with its folders, and gives thumbnails that are named safely", async () => {
    const upload = await zipOf({
      "rome/a <b> & c.jpg": photo,
      "rome/\u0007“Ünï”.png": await plain(1000, 500, "#00f").png().toBuffer(),
      "broken.jpg": photo.subarray(0, 100),
      "__MACOSX/rome/._a.jpg": Buffer.from("junk"),
      "rome/.DS_Store": Buffer.from("junk"),
    });
    const run = await album({ title: "<Rome> & \ud800 \u0000", thumbnail: 64 }, upload);
    expect(run.result).toMatchObject({
      pictures: 2,
      skipped: [{ name: "broken.jpg", reason: "It is damaged." }],
      files: ["contact-sheet.jpg", "album.zip"],
    });
    const packed = await unzip(run.path("album.zip"));
    expect([...packed.keys()]).toEqual([
      "contact-sheet.jpg",
      "thumbnails/0001-__Ünï_.jpg",
      "thumbnails/0002-a _b_ _ c.jpg",
    ]);
    const sizes = [...packed.values()].slice(1).map((bytes) => sharp(bytes).metadata());
    expect(await Promise.all(sizes)).toMatchObject([
      { width: 64, height: 32 },
      { width: 60, height: 40 },
    ]);
  });

  it("refuses a zip whose names lead out of it, and writes nothing there", async () => {
    for (const evil of ["../evil.jpg", "/a/evil.jpg", "a/../../e.jpg", "C:/evil.jpg"]) {
      const harmless = "x".repeat(evil.length);
      const upload = await zipOf({ [harmless]: photo, "good.jpg": photo }, renamed(harmless, evil));
      expect(await failureOf({}, upload), evil).toEqual({ status: 422, type: "damaged-zip" });
      expect(await readdir(dirname(upload.upload.path))).toEqual(["pictures.zip"]);
    }
  });

  it("leaves out what unpacks to more than it says or than a picture may have", async () => {
    const bomb = { "bomb.jpg": Buffer.concat([photo, Buffer.alloc(65 * 1024 ** 2)]) };
    const honest = await album({}, await zipOf({ ...bomb, "good.jpg": photo }));
    expect(honest.result).toMatchObject({ pictures: 1, skipped: [{ reason: "It is larger than 64 MiB." }] });
    const lying = await album({}, await zipOf({ ...bomb, "good.jpg": photo }, claim(photo.length)));
    expect(lying.result).toMatchObject({ pictures: 1, skipped: [{ reason: "It can't be unpacked." }] });
  });

  it("refuses a zip that claims more than 16 GiB, or more than 10,000 files", async () => {
    const five = Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`${n}.jpg`, photo]));
    expect((await failureOf({}, await zipOf(five, claim(0xfffffffe)))).type).toBe("album-too-large");
    const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, n) => [`${n}.jpg`, Buffer.alloc(0)]));
    expect((await failureOf({}, await zipOf(many))).type).toBe("too-many-pictures");
  });

  it("leaves out pictures of too many pixels, and files that only call themselves pictures", async () => {
    const huge = Buffer.from(photo);
    // Height and width stand in the frame header, 5 bytes from its marker (ITU-T T.81, B.2.2).
    const size = huge.indexOf("\xff\xc0", "latin1") + 5;
    huge.fill(0xee, size, size + 4);
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>';
    const { result } = await album({
      folder: await folderOf({ "1.jpg": huge, "2.png": svg, "3.jpg": photo }),
    });
    expect(result).toMatchObject({
      pictures: 1,
      skipped: [
        { name: "1.jpg", reason: "It has more than 64 megapixels." },
        { name: "2.png", reason: "It is not a JPEG, PNG, WebP, GIF, TIFF or AVIF picture." },
      ],
    });
  });

  it("fails for good where there is no picture that can be read", async () => {
    const none = { status: 422, type: "no-pictures" };
    expect(await failureOf({ folder: await folderOf({ "a.jpg": "no" }) })).toEqual(none);
    expect(await failureOf({ folder: await folderOf({}) })).toEqual(none);
    const { error } = await album({}, await zipOf({ "a.jpg": Buffer.from("no") }));
    expect((error as Failure).extensions).toMatchObject({ skipped: [{ name: "a.jpg" }] });
  });

  it("fails for good on what is no zip, a cut one, no source or two", async () => {
    const { upload } = await zipOf({ "a.jpg": photo, "b.jpg": photo });
    const cut = join(home, "cut.zip");
    await writeFile(cut, (await readFile(upload.path)).subarray(0, -30));
    expect((await failureOf({}, { upload: { path: cut } })).type).toBe("not-a-zip");
    expect((await failureOf({}, { upload: { path: join(home, "cut.zip") } })).status).toBe(422);
    expect((await failureOf({})).type).toBe("one-source");
    expect((await failureOf({ folder: "a" }, { upload })).type).toBe("one-source");
  });

  it("follows no symbolic link out of the folder", async () => {
    const folder = await folderOf({ "good.jpg": photo, "inner/good.jpg": photo });
    const outside = await folderOf({ "secret.jpg": photo });
    await symlink(join(home, outside), join(home, folder, "inner", "link"));
    await symlink(join(home, outside, "secret.jpg"), join(home, folder, "link.jpg"));
    expect((await album({ folder })).result).toMatchObject({ pictures: 2, skippedPictures: 0 });
    await symlink(tmpdir(), join(home, "way-out"));
    expect((await failureOf({ folder: "way-out" })).type).toBe("no-such-media");
    expect((await failureOf({ folder: `${folder}/good.jpg` })).type).toBe("no-such-media");
  });

  it.each(["Making thumbnails… 2 of 3", "Packing the album…"])(
    "stops at %j when it is canceled",
    async (at) => {
      const controller = new AbortController();
      const reason = new Interruption("canceled");
      const { error, saved, progress } = await album(
        { folder: await folderOf({ "1.jpg": photo, "2.jpg": photo, "3.jpg": photo }) },
        {
          signal: controller.signal,
          onProgress: ({ message }) => message === at && controller.abort(reason),
        },
      );
      expect(error).toBe(reason);
      expect(saved).toEqual([]);
      expect(progress.at(-1)?.message).toBe(at);
    },
  );

  it.each([
    { folder: ".." },
    { folder: "/etc" },
    { folder: "a/../.." },
    { folder: "a\\b" },
    { folder: "a\0" },
    { thumbnail: 0 },
    { thumbnail: 5000 },
    { title: "x".repeat(81) },
    { unknown: 1 },
  ])("refuses %j before it is accepted", async (input) => {
    expect(await compileSchema(photoAlbum.input!, "input").check(input)).toHaveProperty("errors");
  });
});

describe("decode", () => {
  const red = [255, 0, 0];
  const image = plain(40, 20, "#f00");
  it.each([
    {
      what: "a turned JPEG",
      bytes: () => image.clone().withMetadata({ orientation: 6 }).jpeg().toBuffer(),
      size: [5, 10],
    },
    { what: "a CMYK JPEG", bytes: () => image.clone().toColourspace("cmyk").jpeg().toBuffer() },
    { what: "a PNG of 16 bits", bytes: () => image.clone().toColourspace("rgb16").png().toBuffer() },
    {
      what: "a grey PNG",
      bytes: () => image.clone().toColourspace("b-w").png().toBuffer(),
      colour: [127, 127, 127],
    },
    {
      what: "a see-through WebP",
      bytes: () => image.clone().ensureAlpha(0).webp().toBuffer(),
      colour: [255, 255, 255],
    },
    { what: "a GIF", bytes: () => image.clone().gif().toBuffer() },
    { what: "a TIFF", bytes: () => image.clone().tiff({ compression: "lzw" }).toBuffer() },
    { what: "an AVIF", bytes: () => image.clone().avif().toBuffer() },
  ])("makes three bytes a pixel of $what", async ({ bytes, size = [10, 5], colour = red }) => {
    const pixels = await decode(await bytes(), 10);
    expect([pixels.width, pixels.height]).toEqual(size);
    expect(pixels.data).toHaveLength(10 * 5 * 3);
    const middle = pixels.data.subarray(3 * 25, 3 * 26);
    for (const [index, part] of colour.entries())
      expect(Math.abs((middle[index] ?? 0) - part)).toBeLessThan(30);
  });
});
