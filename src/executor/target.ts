// Which addresses may be called, and the one way to call them: for webhooks, the HTTP executor and the gateway alike.
//
//   URL ── check ──▶ host ── DNS ──▶ addresses ── judge, each ──▶ connect to one of these ── same peer? ──▶ TLS ──▶ one request
//          422                        one that may not be called: blocked, and no connection is opened
//
// The address that was judged is the address that is connected to, so a name that changes its mind in between changes
// nothing. A connection carries one request. Redirects are answers, and no proxy of the environment is used.

import { createAddressJudge } from "./target/address.ts";
import { type Destination, openSocket, secure, Untrusted, WrongPeer } from "./target/connection.ts";
import { type Answer, type Exchange, exchange } from "./target/exchange.ts";
import { createResolver, type Resolver, resolveName } from "./target/names.ts";
import { type Checked, checkUrl, type RefusedReason } from "./target/url.ts";

export type { Answer, Checked, RefusedReason, Resolver };

export interface TargetOptions {
  /** Whether plain http may be called. Default: false. */
  readonly allowHttp?: boolean;
  /** Addresses and CIDRs that may be called although they are not public. Default: none. */
  readonly allow?: readonly string[];
  /** Ports that may be called. Default: 443 and 8443; with `allowHttp` 80 and 8080 too. */
  readonly ports?: readonly number[];
  /** Who is asked for a name's addresses. Default: the DNS servers of this machine. */
  readonly resolver?: Resolver;
  /** Certificates (PEM) of authorities that count instead of those that Node trusts. Default: null, those of Node. */
  readonly ca?: string | null;
}

export interface TargetRequest {
  readonly method: "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT";
  /** Fields of the connection (`Host`, `Content-Length`, `Connection` and their like) are left out: they are set here. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | null;
  /** From the question to DNS to the last byte of the answer. Default: 15,000. */
  readonly timeoutMs?: number;
  /** Of the answer's body. What comes after is not read. Default: 65,536. */
  readonly maxResponseBytes?: number;
  /** Whether the answer's body is wanted. Default: false, it is counted and let go. */
  readonly keepBody?: boolean;
  /** Ends the call; then it has failed with `aborted`. */
  readonly signal?: AbortSignal;
}

/** Why there was no answer. */
export type FailedReason =
  | "name-not-found"
  | "name-unavailable"
  | "unreachable"
  | "untrusted"
  | "no-answer"
  | "timeout"
  | "aborted";

/** How a call ended. `latencyMs` is from its beginning to its end, DNS included. */
export type Called =
  | (Answer & { readonly kind: "answered"; readonly address: string; readonly latencyMs: number })
  | {
      readonly kind: "blocked";
      readonly reason: RefusedReason;
      /** One sentence, without the URL and the address. */
      readonly detail: string;
      readonly latencyMs: number;
    }
  | {
      readonly kind: "failed";
      readonly reason: FailedReason;
      /** What the system calls it, as `ECONNREFUSED`; null where it has no name. */
      readonly code: string | null;
      /** Who was called; null where it did not come to that. */
      readonly address: string | null;
      readonly latencyMs: number;
    };

export interface Target {
  /** Judges a URL by its text: for 422 at submission. A name may still turn out to be blocked when it is called. */
  check(url: string): Checked;
  /** Calls a URL. Never rejects for what the URL, DNS or the other side do. */
  request(url: string, asked: TargetRequest): Promise<Called>;
}

/** Makes a target. Throws a `TypeError` in one sentence where an entry of `allow` is neither an address nor a CIDR. */
export function createTarget(options: TargetOptions = {}): Target {
  const { allowHttp = false, resolver = createResolver(), ca = null } = options;
  const ports = options.ports ?? (allowHttp ? [443, 8443, 80, 8080] : [443, 8443]);
  const judge = createAddressJudge(options.allow);
  const check = (url: string) => checkUrl(url, { allowHttp, ports, judge });

  const addressesOf = async (checked: Ok): Promise<readonly string[] | Ended> => {
    if (checked.addresses !== null) return checked.addresses;
    const resolved = await resolveName(resolver, checked.host);
    if (resolved.kind === "failed") return failed(resolved.reason);
    // One answer that may not be called spoils them all: who mixes them is trying which one is taken.
    const reason = resolved.addresses.map(judge).find((found) => found !== null);
    return reason === undefined || reason === null ? resolved.addresses : blocked("address", reason);
  };

  const call = async (url: string, asked: TargetRequest, signal: AbortSignal): Promise<Ended> => {
    const checked = check(url);
    if (checked.kind === "refused") return blocked(checked.reason, checked.detail);
    const found = await Promise.race([addressesOf(checked), abortOf(signal)]);
    if (found === null) return failed("timeout");
    return "kind" in found ? found : callOneOf(found, checked, asked, ca, signal);
  };

  return {
    check,
    async request(url, asked) {
      const startedAt = performance.now();
      const ended = await within(asked.timeoutMs ?? TIMEOUT_MS, asked.signal, (signal) =>
        call(url, asked, signal),
      );
      // Whoever wants no answer any more gets none, even if one came.
      const told = asked.signal?.aborted ? failed("aborted", null, addressOf(ended)) : ended;
      return { ...told, latencyMs: performance.now() - startedAt };
    },
  };
}

type Ok = Extract<Checked, { kind: "ok" }>;
type Untimed<T> = T extends unknown ? Omit<T, "latencyMs"> : never;
type Ended = Untimed<Called>;

const TIMEOUT_MS = 15_000;
const MOST_RESPONSE_BYTES = 64 * 1024;
/** Addresses of a name that are tried; a name can have thousands. */
const MOST_ADDRESSES = 4;
/** Until the next address is tried. */
const CONNECT_MS = 3_000;

async function callOneOf(
  addresses: readonly string[],
  checked: Ok,
  asked: TargetRequest,
  ca: string | null,
  signal: AbortSignal,
): Promise<Ended> {
  const tried = addresses.slice(0, MOST_ADDRESSES);
  let ended: Ended = failed("unreachable");
  for (const [at, address] of tried.entries()) {
    const destination = { address, port: checked.port, isTls: checked.isTls, host: checked.host, ca };
    const open = (patience: AbortSignal) => openSocket(destination, patience);
    try {
      // The last one has all the time that is left.
      const socket = await (at === tried.length - 1 ? open(signal) : within(CONNECT_MS, signal, open));
      // From here on there is no next address: a request is not sent twice.
      return await converse(socket, destination, checked, asked, signal);
    } catch (error) {
      if (error instanceof WrongPeer) return blocked("address", error.message);
      ended = failed(signal.aborted ? "timeout" : "unreachable", codeOf(error), address);
      if (signal.aborted) return ended;
    }
  }
  return ended;
}

async function converse(
  socket: Awaited<ReturnType<typeof openSocket>>,
  destination: Destination,
  checked: Ok,
  asked: TargetRequest,
  signal: AbortSignal,
): Promise<Ended> {
  const { address } = destination;
  const url = new URL(checked.url);
  const request: Exchange = {
    method: asked.method,
    path: `${url.pathname}${url.search}`,
    authority: url.host,
    headers: asked.headers ?? {},
    body: asked.body ?? null,
    maxResponseBytes: asked.maxResponseBytes ?? MOST_RESPONSE_BYTES,
    keepBody: asked.keepBody ?? false,
  };
  try {
    const ready = destination.isTls ? await secure(socket, destination, signal) : socket;
    return { kind: "answered", ...(await exchange(ready, request, signal)), address };
  } catch (error) {
    const reason = signal.aborted ? "timeout" : error instanceof Untrusted ? "untrusted" : "no-answer";
    return failed(reason, codeOf(error instanceof Untrusted ? error.cause : error), address);
  } finally {
    socket.destroy();
  }
}

/** Runs something with a signal that ends it after a time, or with the signal above it. Leaves nothing on that one. */
async function within<T>(
  ms: number,
  above: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const onAbort = () => own.abort(above?.reason);
  const timer = setTimeout(() => own.abort(new Error("The time is up.")), ms);
  above?.addEventListener("abort", onAbort, { once: true });
  if (above?.aborted) onAbort();
  try {
    return await run(own.signal);
  } finally {
    clearTimeout(timer);
    above?.removeEventListener("abort", onAbort);
  }
}

/** Null, as soon as the signal says so. The signal has to be one that ends with the call. */
function abortOf(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
}

function addressOf(ended: Ended): string | null {
  return "address" in ended ? ended.address : null;
}

function codeOf(error: unknown): string | null {
  const code = error instanceof Error && "code" in error ? error.code : null;
  return typeof code === "string" ? code : null;
}

function blocked(reason: RefusedReason, detail: string): Ended {
  return { kind: "blocked", reason, detail };
}

function failed(reason: FailedReason, code: string | null = null, address: string | null = null): Ended {
  return { kind: "failed", reason, code, address };
}
