// The port: where large things lie. Uploads and results are written whole and durable, under (job, attempt), or not at all.

import type { Readable } from "node:stream";

/** Where a blob belongs: the job's address, and the attempt that made it, or the upload. */
export interface BlobPlace {
  /** The job's address: 32 lower-case hex characters. */
  readonly address: string;
  readonly part: "upload" | number;
  /** What people call the file; any text. */
  readonly name: string;
}

export interface Written {
  /** Where it lies; opaque to everyone else. */
  readonly blob: string;
  readonly bytes: number;
  /** Lower-case hex SHA-256. */
  readonly sha256: string;
}

export interface Blobs {
  /**
   * Writes a stream; resolves once every byte is durable. Nothing is left where it fails or is aborted.
   * @throws BlobTooLarge past `maxBytes`. StoreUnavailable where the disk is full or read-only.
   */
  write(
    place: BlobPlace,
    from: Readable,
    options: { maxBytes: number; signal?: AbortSignal },
  ): Promise<Written>;
  /** Takes over a file of the local disk, by moving it where it can. */
  take(place: BlobPlace, path: string): Promise<Written>;
  /** Opens a blob, or bytes `from`–`to` (inclusive) of it; null where it is no longer there. */
  open(blob: string, range?: { readonly from: number; readonly to: number }): Promise<Readable | null>;
  /** A local path to read the blob from; null where it is no longer there. */
  path(blob: string): Promise<string | null>;
  /** Removes everything of a job. A download that has begun goes on. */
  remove(address: string): Promise<void>;
  /** The addresses that have anything here, and when it was last changed, ms. */
  addresses(): AsyncIterable<{ readonly address: string; readonly changedAt: number }>;
  close(): Promise<void>;
}

/** More bytes than the limit allows: 413. */
export class BlobTooLarge extends Error {
  override readonly name = "BlobTooLarge";
  readonly maxBytes: number;
  constructor(maxBytes: number) {
    super(`The file is larger than ${maxBytes} bytes.`);
    this.maxBytes = maxBytes;
  }
}
