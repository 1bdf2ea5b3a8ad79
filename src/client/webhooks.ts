// Receiving webhooks: who it came from, when it was sent, whether it came before, and what it says. For every host that has WebCrypto.

import type { EventKind } from "../core/event.ts";
import type { StatusDocument } from "../protocol/monitor.ts";
import {
  isTimestamp,
  isWebhookId,
  parseSecret,
  SIGNATURE_HEADERS,
  verifySignature,
  type WebhookSecret,
} from "../protocol/signature.ts";

export type { StatusDocument };

/** What happened to a job. `data` is its status document, as `GET` on its monitor answers it. */
export interface JobEvent {
  /** The same for every try to deliver this event. */
  readonly id: string;
  readonly type: `job.${Exclude<EventKind, "expired">}`;
  /** When it happened, RFC 3339. */
  readonly timestamp: string;
  readonly data: StatusDocument;
}

/** A test of the endpoint, at its owner's wish. */
export interface PingEvent {
  readonly id: string;
  readonly type: "ping";
  readonly timestamp: string;
  readonly data: object;
}

/** What a webhook says. Later versions may have other types: leave those you don't know alone, and answer 204. */
export type WebhookEvent = JobEvent | PingEvent;

export type WebhookRefusal =
  /** One of the three header fields is missing. */
  | "missing-header"
  /** One of them came twice, or can't be what it says. */
  | "malformed-header"
  | "too-old"
  | "too-new"
  /** It is not from who knows the secret, or was changed on its way. */
  | "wrong-signature"
  /** An event of this id was taken already: answer 204, or it will come again. */
  | "replayed"
  /** The signature is right, and the body is no event. */
  | "malformed-body";

/** A webhook that is not to be acted on. `status` is what to answer. */
export class WebhookRefused extends Error {
  override readonly name = "WebhookRefused";
  readonly reason: WebhookRefusal;
  /** 204 for what was taken before, 400 for all else. */
  readonly status: 204 | 400;

  constructor(reason: WebhookRefusal) {
    super(SENTENCES[reason]);
    this.reason = reason;
    this.status = reason === "replayed" ? 204 : 400;
  }
}

/**
 * The ids of events that were taken. The sender waits 15 s: what takes longer belongs into a queue of your own, or its second
 * delivery is answered as taken while the first may still fail. Where several processes receive, share one of your own between them, such as a table
 * with a unique column.
 */
export interface SeenIds {
  /** Notes an id until `expiresAt` (ms since 1970); false where it was noted already. Of two at once one gets true. */
  add(id: string, expiresAt: number): boolean | Promise<boolean>;
  /** Forgets an id whose event could not be handled after all, so that its next delivery is the first again. */
  delete(id: string): unknown;
}

export interface VerifyOptions {
  /** How far the sender's clock and ours may be apart, and how old a webhook may be. Default: 300. */
  readonly toleranceSeconds?: number;
  /** Ms since 1970. Default: `Date.now()`. */
  readonly now?: number;
  /** Default: none, then each delivery is taken as often as it comes. */
  readonly seen?: SeenIds;
  /** How long an id is noted. Default: 4 days, longer than a delivery is tried again. At least the tolerance counts. */
  readonly rememberSeconds?: number;
}

/** Header fields as hosts have them: `Headers`, or an object of any case. */
export type WebhookHeaders =
  | { get(name: string): string | null }
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Verifies a webhook and gives its event.
 *
 * @param rawBody exactly what came: parsed and printed again it has another signature
 * @param secrets `whsec_…`; several while they are rotated
 *
 * Rejects with a `WebhookRefused`, and with a `TypeError` where a secret is none. With `seen`, call `seen.delete(event.id)` when the
 * event could not be handled and the answer is not 2xx.
 */
export async function verifyWebhook(
  rawBody: string | Uint8Array | ArrayBuffer,
  headers: WebhookHeaders,
  secrets: string | readonly string[],
  options: VerifyOptions = {},
): Promise<WebhookEvent> {
  const { toleranceSeconds = 300, now = Date.now(), seen, rememberSeconds = 4 * 86_400 } = options;
  const keys = readSecrets(secrets);
  const [id, timestamp, signature] = [
    headerOf(headers, SIGNATURE_HEADERS.id),
    headerOf(headers, SIGNATURE_HEADERS.timestamp),
    headerOf(headers, SIGNATURE_HEADERS.signature),
  ];
  if (!isWebhookId(id) || !isTimestamp(timestamp)) throw new WebhookRefused("malformed-header");
  const ageSeconds = now / 1000 - Number(timestamp);
  if (ageSeconds > toleranceSeconds) throw new WebhookRefused("too-old");
  if (ageSeconds < -toleranceSeconds) throw new WebhookRefused("too-new");
  const body = rawBody instanceof ArrayBuffer ? new Uint8Array(rawBody) : rawBody;
  if (!(await verifySignature(keys, id, timestamp, body, signature))) {
    throw new WebhookRefused("wrong-signature");
  }
  const event = readEvent(id, body);
  if (seen !== undefined) {
    // As long as its timestamp can be taken at the very least, or the same delivery could be taken twice.
    const keptSeconds = Math.max(rememberSeconds, 2 * toleranceSeconds);
    if (!(await seen.add(id, now + keptSeconds * 1000))) throw new WebhookRefused("replayed");
  }
  return event;
}

/**
 * Remembers ids in this process.
 *
 * @param most how many at most (default: 100,000); past it the oldest are forgotten
 */
export function rememberIds({
  most = 100_000,
  now = Date.now,
}: {
  most?: number;
  now?: () => number;
} = {}): SeenIds {
  const expiries = new Map<string, number>();
  return {
    add(id, expiresAt) {
      const moment = now();
      if ((expiries.get(id) ?? 0) > moment) return false;
      // Ids stand in the order in which they came, which is that of their expiry.
      for (const [other, expiry] of expiries) {
        if (expiry > moment && expiries.size < most) break;
        expiries.delete(other);
      }
      expiries.delete(id);
      expiries.set(id, expiresAt);
      return true;
    },
    delete: (id) => expiries.delete(id),
  };
}

const SENTENCES: Readonly<Record<WebhookRefusal, string>> = {
  "missing-header": "The webhook lacks one of webhook-id, webhook-timestamp and webhook-signature.",
  "malformed-header":
    "One of webhook-id, webhook-timestamp and webhook-signature came twice or is malformed.",
  "too-old": "The webhook was sent too long ago.",
  "too-new": "The webhook is dated in the future.",
  "wrong-signature": "No signature of the webhook is of one of the secrets.",
  replayed: "The webhook was taken before.",
  "malformed-body": "The webhook's body is not an event.",
};

function readSecrets(secrets: string | readonly string[]): WebhookSecret[] {
  const texts = typeof secrets === "string" ? [secrets] : secrets;
  if (texts.length === 0) throw new TypeError("A webhook is verified with one secret at least.");
  return texts.map((text) => {
    const secret = typeof text === "string" ? parseSecret(text) : null;
    if (secret === null) throw new TypeError("A webhook's secret is `whsec_` and 24 to 64 bytes in base64.");
    return secret;
  });
}

function headerOf(headers: WebhookHeaders, name: string): string {
  const found = typeof headers.get === "function" ? [headers.get(name)] : valuesOf(headers, name);
  const values = found.flat().filter((value) => value !== null && value !== undefined);
  if (values.length > 1) throw new WebhookRefused("malformed-header");
  const [value] = values;
  if (typeof value !== "string" || value === "") throw new WebhookRefused("missing-header");
  return value;
}

function valuesOf(headers: WebhookHeaders, name: string) {
  return Object.entries(headers).flatMap(([key, value]) => (key.toLowerCase() === name ? [value] : []));
}

function readEvent(id: string, body: string | Uint8Array): WebhookEvent {
  let said: unknown;
  try {
    said = JSON.parse(
      typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body),
    );
  } catch {
    throw new WebhookRefused("malformed-body");
  }
  const { type, timestamp, data } = (said ?? {}) as Readonly<Record<string, unknown>>;
  if (
    typeof type !== "string" ||
    typeof timestamp !== "string" ||
    typeof data !== "object" ||
    data === null
  ) {
    throw new WebhookRefused("malformed-body");
  }
  // The sender is who has the secret: what it says is in its type's shape.
  return { id, type, timestamp, data } as WebhookEvent;
}
