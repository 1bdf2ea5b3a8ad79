// What a handler is given: one attempt of one job, and all that it may do with it.

/** A file that lies in the blob store: an upload, or a file that an attempt saved. */
export interface StoredFile {
  /** The name a person sees, such as `holiday.mp4`; never a path. */
  readonly name: string;
  /** Media type, such as `video/mp4`. */
  readonly type: string;
  readonly bytes: number;
  /** Lower-case hex SHA-256 of the bytes. */
  readonly sha256: string;
  /** Where the blob store keeps it; opaque. */
  readonly blob: string;
}

/** An uploaded file as the handler reads it. */
export interface Upload extends StoredFile {
  /** A local path to read it from, for programs that want one. */
  path(): Promise<string>;
  /** The bytes as a stream. */
  stream(): Promise<import("node:stream").Readable>;
}

export interface AttemptLog {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Why an attempt's signal fired; the `reason` of the `AbortSignal` is an `Interruption` of this cause. */
export type InterruptionCause = "canceled" | "lease-lost" | "time-up" | "shutting-down";

/** The reason of an attempt's aborted signal. */
export class Interruption extends Error {
  override readonly name = "Interruption";
  readonly reason: InterruptionCause;
  constructor(reason: InterruptionCause) {
    super(
      {
        canceled: "The job was canceled.",
        "lease-lost": "The attempt lost its lease: another attempt may be running.",
        "time-up": "The attempt ran longer than its operation allows.",
        "shutting-down": "The worker is shutting down; the job will be tried again.",
      }[reason],
    );
    this.reason = reason;
  }
}

/** What a handler may do with the attempt it runs. */
export interface HandlerAttempt<State = unknown> {
  /** The job's id. */
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  /** This attempt's number, from 1. */
  readonly number: number;
  /** Aborts when the job is canceled, the lease is lost, the time is up or the worker shuts down. */
  readonly signal: AbortSignal;
  /** The same for every attempt of the job: pass it on as the idempotency key of what you call. */
  readonly idempotencyKey: string;
  /** What the last `checkpoint` of an earlier attempt stored; undefined in a fresh job. */
  readonly resume: State | undefined;
  /** The file that came with the request, if one did. */
  readonly upload: Upload | undefined;
  readonly log: AttemptLog;
  /** Reports progress, 0 to 100 (null where it can't be known), and what is being done. Never waits; reports are thinned out. */
  progress(percent: number | null, message?: string): void;
  /** Stores JSON from which the next attempt resumes; resolves once it is durable. */
  checkpoint(state: State): Promise<void>;
  /** An empty directory of this attempt's own on the local disk, removed when the attempt ends. */
  scratch(): Promise<string>;
  /**
   * Keeps a file as (part of) the result: a path in the scratch directory (moved), a buffer or a stream.
   * Return the `StoredFile` from the handler to make it the result; return JSON to have it listed beside.
   */
  save(
    name: string,
    from: { path: string } | { bytes: Uint8Array } | { stream: NodeJS.ReadableStream },
    type: string,
  ): Promise<StoredFile>;
}

/** The function that does the work of one attempt. */
export type Handler<Input = unknown, Output = unknown, State = unknown> = (
  input: Input,
  attempt: HandlerAttempt<State>,
) => Promise<Output | StoredFile> | Output | StoredFile;

/**
 * Thrown by a handler: the job has failed for good and is not tried again. Anything else that is thrown is
 * tried again while attempts are left.
 */
export class Failure extends Error {
  override readonly name = "Failure";
  /** HTTP status that the result URL answers with; default 500. */
  readonly status: number;
  /** Tells failures of one kind from another: a URL, or a short name that goes out as `code`; default `attempt-failed`. */
  readonly type: string;
  /** Further members of the problem document. */
  readonly extensions: Readonly<Record<string, unknown>>;
  constructor(
    message: string,
    options: {
      status?: number;
      type?: string;
      extensions?: Readonly<Record<string, unknown>>;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.status = options.status ?? 500;
    this.type = options.type ?? "attempt-failed";
    this.extensions = options.extensions ?? {};
  }
}
