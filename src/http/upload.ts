// Submits that bring a file: a raw body, or multipart/form-data. The file is durable before the job is submitted.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { Busboy, type BusboyHeaders } from "@fastify/busboy";
import { BlobTooLarge } from "../blob/blobs.ts";
import type { StoredFile } from "../core/handler.ts";
import type { Caller } from "../core/jobs.ts";
import type { FilePolicy } from "../core/operation.ts";
import type { ReadyOperation } from "../core/operations.ts";
import { problem } from "../core/problem.ts";
import { parseFilename, sanitizeFilename } from "../protocol/disposition.ts";
import { parseJson } from "../protocol/json.ts";
import { acceptsType, type Feed, feedBody, parseMediaType, tooLarge } from "./body.ts";
import type { Door } from "./door.ts";
import { checkInput, fingerprintOf, inputText, refuseInexact, refuseInput, type TakenIn } from "./intake.ts";

/** A request that brings a file. */
export interface Delivery {
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  readonly caller: Caller;
  readonly ready: ReadyOperation;
  /** Of the operation. */
  readonly file: Required<FilePolicy>;
  /** Method, route and media type, for the fingerprint. */
  readonly source: string;
  /** The query's parameters. */
  readonly parameters: URLSearchParams | null;
}

/** Where the file of a request that is being read lies. */
interface Place {
  readonly id: string;
  readonly address: string;
}

/** Takes in a raw body as the operation's file; its input comes from the query. */
export async function takeFile(door: Door, delivery: Delivery, type: string): Promise<TakenIn> {
  const { raw, caller, ready, file, source, parameters } = delivery;
  const fields = fieldsOf(parameters ?? []);
  if (fields === null) return REFUSED_NAME;
  const input = await inputOfFields(ready, fields);
  if ("refused" in input) return input;
  return withFeed(
    door,
    delivery,
    file.maxBytes,
    async (feed, place) => {
      const name = sanitizeFilename(parseFilename(raw.headers["content-disposition"]) ?? "", "upload");
      const upload = await store(door, place, feed.stream, { name, type, maxBytes: file.maxBytes });
      const content = JSON.stringify([parameters?.toString() ?? "", name, upload.sha256]);
      return { input: input.text, upload, id: place.id, fingerprint: fingerprintOf(source, content) };
    },
    caller,
  );
}

/** Takes in multipart/form-data: one file at most, and the input as the JSON field `input` or as plain fields. */
export async function takeMultipart(door: Door, delivery: Delivery): Promise<TakenIn> {
  const { caller, ready, file, source } = delivery;
  const maxBytes = file.maxBytes + ready.operation.maxBodyBytes + FRAME_BYTES;
  return withFeed(
    door,
    delivery,
    maxBytes,
    async (feed, place) => {
      const form = await readForm(door, delivery, feed, place);
      if ("refused" in form) return form;
      const { upload, fields } = form;
      if (upload === null && file.required) return refuseInput([{ detail: "needs a file", pointer: "" }]);
      const input = await inputOfForm(door, ready, fields);
      if ("refused" in input) return input;
      const content = JSON.stringify([fields, upload?.name, upload?.type, upload?.sha256]);
      const id = upload === null ? null : place.id;
      return { input: input.text, upload, id, fingerprint: fingerprintOf(source, content) };
    },
    caller,
  );
}

// Boundaries, part headers and line ends around the parts.
const FRAME_BYTES = 64 * 1024;
const REFUSED_NAME = { refused: problem("invalid-request", "A parameter is named __proto__.") };

/** Has `take` read the body, and clears away what it stored where nothing came of it. */
async function withFeed(
  door: Door,
  { raw, response }: Delivery,
  maxBytes: number,
  take: (feed: Feed, place: Place) => Promise<TakenIn>,
  caller: Caller,
): Promise<TakenIn> {
  if (door.uploads.size >= door.limits.uploads) {
    return { refused: problem("unavailable", "Too many uploads are under way.") };
  }
  if (countOf(door.uploads, caller.owner) >= door.limits.uploadsPerOwner) {
    return { refused: problem("unavailable", "Too many of your uploads are under way.") };
  }
  const id = door.jobs.createId();
  const place = { id, address: door.jobs.address(caller.owner, id) };
  const feed = feedBody(raw, response, { maxBytes, idleMs: door.limits.uploadIdleMs });
  door.uploads.set(feed, caller.owner);
  let kept = false;
  try {
    const taken = await take(feed, place);
    kept = "fingerprint" in taken;
    return taken;
  } catch (error) {
    switch (feed.failure()) {
      case "closed":
        return { closed: true };
      case "silent":
        return { refused: problem("request-timeout") };
      case "too-large":
        return { refused: tooLarge(maxBytes) };
      case "stopped":
        return { refused: problem("unavailable", "The server is shutting down.") };
    }
    if (error instanceof BlobTooLarge) return { refused: tooLarge(error.maxBytes) };
    throw error;
  } finally {
    door.uploads.delete(feed);
    feed.release();
    if (!kept) await discard(door, place.address);
  }
}

// They are few: the limit of all uploads bounds it.
function countOf(uploads: Door["uploads"], owner: string): number {
  let count = 0;
  for (const whose of uploads.values()) if (whose === owner) count++;
  return count;
}

/** Removes what was stored for a submit of which nothing came. */
export async function discard(door: Door, address: string): Promise<void> {
  try {
    await door.blobs.remove(address);
  } catch (error) {
    // The sweep removes what belongs to no job.
    door.log.warn({ err: error }, "An upload that is not needed could not be removed yet.");
  }
}

async function store(
  door: Door,
  { address }: Place,
  from: Readable,
  { name, type, maxBytes }: { name: string; type: string; maxBytes: number },
): Promise<StoredFile> {
  const written = await door.blobs.write({ address, part: "upload", name }, from, { maxBytes });
  return { name, type, bytes: written.bytes, sha256: written.sha256, blob: written.blob };
}

/** The fields of a form in the order they came, and its file. */
interface Form {
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly upload: StoredFile | null;
}

type Refused = Extract<TakenIn, { refused: unknown }>;

function readForm(
  door: Door,
  { raw, file, ready }: Delivery,
  feed: Feed,
  place: Place,
): Promise<Form | Refused> {
  const { maxBodyBytes } = ready.operation;
  let boy: InstanceType<typeof Busboy>;
  try {
    boy = new Busboy({
      headers: raw.headers as BusboyHeaders,
      limits: {
        files: 1,
        parts: door.limits.parts,
        fieldNameSize: door.limits.fieldNameBytes,
        fieldSize: maxBodyBytes,
        headerPairs: 20,
        headerSize: 4 * 1024,
      },
    });
  } catch {
    return Promise.resolve(malformed("The multipart body has no boundary."));
  }
  return new Promise((resolve, reject) => {
    const fields: [string, string][] = [];
    let fieldBytes = 0;
    let storing: Promise<StoredFile | null> = Promise.resolve(null);
    let part: Readable | null = null;
    let stopped = false;
    // What is being stored has to end before it can be removed.
    const stop = (then: () => void) => {
      if (stopped) return;
      stopped = true;
      feed.stream.unpipe(boy);
      part?.destroy(new Error("The form was refused."));
      storing.then(ignore, ignore).finally(then);
    };
    const refuse = (refused: Refused) => stop(() => resolve(refused));
    const fail = (error: unknown) => stop(() => reject(error));
    boy.on("field", (name: string | undefined, value: string, _nameCut: boolean, cut: boolean) => {
      if (name === undefined || Buffer.byteLength(name) > door.limits.fieldNameBytes) {
        return refuse(malformed("A multipart field has no name, or too long a one."));
      }
      fieldBytes += Buffer.byteLength(value);
      if (cut || fieldBytes > maxBodyBytes) return refuse({ refused: tooLarge(maxBodyBytes) });
      fields.push([name, value]);
    });
    boy.on(
      "file",
      (_field: string, stream: Readable, filename: string | undefined, _encoding: string, type: string) => {
        stream.on("error", () => {
          // Busboy only tells of a form that breaks off; whoever destroys the stream says why elsewhere.
          if (!stream.destroyed) refuse(malformed("The multipart body breaks off."));
        });
        // What was read before the refusal is still taken apart.
        if (stopped) return stream.destroy();
        part = stream;
        const essence = parseMediaType(type)?.essence ?? "";
        if (!acceptsType(file.types, essence)) return refuse(unacceptable(file));
        const name = sanitizeFilename(filename ?? "", "upload");
        storing = store(door, place, stream, { name, type: essence, maxBytes: file.maxBytes });
        storing.catch(fail);
      },
    );
    boy.on("filesLimit", () => refuse(malformed("A multipart body may have one file.")));
    boy.on("partsLimit", () => refuse(malformed(`A multipart body may have ${door.limits.parts} parts.`)));
    boy.on("error", () => refuse(malformed("The multipart body can't be read.")));
    boy.on("finish", () => {
      // Busboy finishes a body that broke off too, once it has said so.
      if (stopped) return;
      if (partsOf(boy) > fields.length + (part === null ? 0 : 1)) return refuse(malformed(NAMELESS));
      storing.then((upload) => resolve({ fields, upload }), fail);
    });
    feed.stream.on("error", fail).pipe(boy);
  });
}

const NAMELESS = "A part of the multipart body has no Content-Disposition that can be read.";

// Busboy counts the parts that it passes over too, but tells nobody. Were it to stop counting, they would be passed over again.
function partsOf(boy: InstanceType<typeof Busboy>): number {
  const { _parser: parser } = boy as unknown as { readonly _parser?: { readonly _nparts?: number } };
  return parser?._nparts ?? 0;
}

export function unacceptable({ types }: FilePolicy): Refused {
  return {
    refused: problem(
      "unsupported-media-type",
      `This operation takes files of the types ${types.join(", ")}.`,
    ),
  };
}

function malformed(detail: string): Refused {
  return { refused: problem("invalid-request", detail) };
}

type Input = { readonly text: string } | Refused;

async function inputOfForm(door: Door, ready: ReadyOperation, fields: Form["fields"]): Promise<Input> {
  const given = fields.filter(([name]) => name === "input");
  if (given.length === 0) {
    const record = fieldsOf(fields);
    return record === null ? REFUSED_NAME : inputOfFields(ready, record);
  }
  if (fields.length > 1) return malformed("Beside the field `input` there may be a file and nothing else.");
  const parsed = parseJson(Buffer.from(given[0]?.[1] ?? ""), { maxDepth: door.limits.jsonDepth });
  if (!parsed.ok) return { refused: problem("invalid-json", parsed.detail) };
  if (parsed.inexact !== null) return refuseInexact(parsed.inexact);
  const wrong = await checkInput(ready, parsed.value, "");
  return wrong ?? { text: inputText(ready, parsed.value, parsed.text) };
}

async function inputOfFields(ready: ReadyOperation, fields: Record<string, unknown>): Promise<Input> {
  const value = ready.input === null ? fields : ready.input.coerce(fields);
  const wrong = await checkInput(ready, value, "");
  return wrong ?? { text: inputText(ready, value) };
}

/** Parameters as a value: several of one name are a list. Null where one is named as no member may be. */
function fieldsOf(entries: Iterable<readonly [string, string]>): Record<string, unknown> | null {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of entries) {
    if (name === "__proto__") return null;
    const before = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (before === undefined) fields[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else fields[name] = [before, value];
  }
  return fields;
}

function ignore(): void {}
