// Listens on one process's way to its store: knows what the process is in the middle of, makes it die there, and loses
// the reply to what it committed.

import { type Link, openProxy, type TcpProxy } from "../proxy.ts";
import type { Inside, LoadPoint } from "./plan.ts";

/** What a message to a store's server is part of. */
export type Part = "accept" | "claim" | "settle";

/** As much of a store's protocol as is needed. */
export interface Wire {
  /** The length of the first whole message; 0 where it is not whole yet. */
  measure(bytes: Buffer): number;
  /** What a message brings: parts of a transaction that is open from now on, and whether it commits it. */
  read(message: Buffer): { readonly parts: readonly Part[]; readonly commits: boolean };
}

export interface Tap {
  readonly proxy: TcpProxy;
  /** What the store's server was asked for and has not answered. */
  readonly inside: Inside;
  /** Calls `die` when the process comes to this point for the nth time from now on. Points off this way are never come to. */
  dieAt(point: LoadPoint, nth: number, die: () => void): void;
  /** The point at which it died. */
  readonly diedAt: LoadPoint | null;
  /** Loses the reply to the next commit; tells whether there was one when `stop` is called. */
  loseReply(): { stop(): boolean };
}

export async function openTap(port: number, wire: Wire): Promise<Tap> {
  const open = new Map<Link, Set<Part>>();
  const committing = new Set<Link>();
  let armed: { readonly point: LoadPoint; left: number; readonly die: () => void } | null = null;
  let diedAt: LoadPoint | null = null;
  let losing = false;
  let lost = false;

  const dies = (link: Link, when: "before-commit" | "after-commit") => {
    if (armed === null) return false;
    for (const part of open.get(link) ?? []) {
      if (armed.point !== `${part}-${when}` || --armed.left > 0) continue;
      diedAt = armed.point;
      const { die } = armed;
      armed = null;
      die();
      return true;
    }
    return false;
  };
  const proxy = await openProxy({
    port,
    measure: (bytes) => wire.measure(bytes),
    hear(message, link) {
      const { parts, commits } = wire.read(message);
      let inside = open.get(link);
      if (inside === undefined) {
        inside = new Set();
        open.set(link, inside);
      }
      for (const part of parts) inside.add(part);
      if (!commits || inside.size === 0) return "pass";
      if (dies(link, "before-commit")) return "lose";
      committing.add(link);
      if (!losing) return "pass";
      losing = false;
      lost = true;
      return "lose reply";
    },
    answer(_bytes, link) {
      if (!committing.delete(link)) return true;
      const died = dies(link, "after-commit");
      if (!died) open.delete(link);
      return !died;
    },
    gone(link) {
      open.delete(link);
      committing.delete(link);
    },
  });
  return {
    proxy,
    get inside() {
      const parts = new Set([...open.values()].flatMap((one) => [...one]));
      return parts.has("settle") ? "settle" : parts.has("accept") ? "accept" : "other";
    },
    get diedAt() {
      return diedAt;
    },
    dieAt(point, nth, die) {
      armed = { point, left: nth, die };
    },
    loseReply() {
      losing = true;
      lost = false;
      return {
        stop() {
          losing = false;
          return lost;
        },
      };
    },
  };
}
