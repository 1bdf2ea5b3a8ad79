// Which URLs may be called: the part of the judgement that needs no network, and so can be made at submission.

import { isIP } from "node:net";
import type { AddressJudge } from "./address.ts";

/** What is wrong with a URL. */
export type RefusedReason = "length" | "malformed" | "scheme" | "credentials" | "port" | "address";

/** A URL that may be called as far as its text tells, in its one normal form; or why it may not. */
export type Checked =
  | {
      readonly kind: "ok";
      /** Normalised as WHATWG says, without its fragment: keep and call this one. */
      readonly url: string;
      /** The name or the address, without brackets and without a dot at the end. */
      readonly host: string;
      readonly port: number;
      readonly isTls: boolean;
      /** What the URL itself says to call; null where a name has to be resolved. */
      readonly addresses: readonly string[] | null;
    }
  | {
      readonly kind: "refused";
      readonly reason: RefusedReason;
      /** One sentence, without the input. */
      readonly detail: string;
    };

export interface UrlRules {
  readonly allowHttp: boolean;
  readonly ports: readonly number[];
  readonly judge: AddressJudge;
}

export const MOST_URL_CHARACTERS = 2048;

/** Judges a URL by its text alone. */
export function checkUrl(text: string, { allowHttp, ports, judge }: UrlRules): Checked {
  if (text.length > MOST_URL_CHARACTERS) return TOO_LONG;
  const url = parse(text);
  if (url === null) return refused("malformed", "The URL is not an absolute URL.");
  if (url.protocol !== "https:" && !(allowHttp && url.protocol === "http:")) {
    return refused("scheme", allowHttp ? "The URL must be http or https." : "The URL must be https.");
  }
  if (url.username !== "" || url.password !== "") {
    return refused("credentials", "The URL must not have a user name or a password.");
  }
  const isTls = url.protocol === "https:";
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  if (!ports.includes(port)) return refused("port", `The URL's port must be one of ${ports.join(", ")}.`);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  const addresses = addressesIn(host, judge);
  const reasons = addresses?.map(judge) ?? [];
  const reason = reasons.find((found) => found !== null);
  if (reason !== undefined && reason !== null) return refused("address", reason);
  url.hash = "";
  // Escapes triple what is not ASCII.
  if (url.href.length > MOST_URL_CHARACTERS) return TOO_LONG;
  return { kind: "ok", url: url.href, host, port, isTls, addresses };
}

const TOO_LONG = refused("length", `The URL is longer than ${MOST_URL_CHARACTERS} characters.`);
const LOOPBACK = ["127.0.0.1", "::1"];

/** WHATWG has made every notation of an IPv4 address the dotted one by now. */
function addressesIn(host: string, judge: AddressJudge): readonly string[] | null {
  if (isIP(host) !== 0) return [host];
  if (host !== "localhost" && !host.endsWith(".localhost")) return null;
  // RFC 6761 §6.3: these are loopback and no DNS server is to be asked. An operator may have opened one of the two.
  const open = LOOPBACK.filter((address) => judge(address) === null);
  return open.length === 0 ? LOOPBACK : open;
}

/** Not by `URL.canParse`: once V8 has optimised it, Node 20's takes no text with umlauts any more. */
function parse(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function refused(reason: RefusedReason, detail: string): Checked {
  return { kind: "refused", reason, detail };
}
