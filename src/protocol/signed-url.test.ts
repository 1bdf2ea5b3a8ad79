import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Grant, hideLink, type Link, type LinkKey, openLink, signLink } from "./signed-url.ts";

const NOW = 1_760_000_000_000;
const KEY = keyOf("k1", "first");
const LINK: Link = {
  grant: "result",
  owner: "ada",
  job: "kq3v9",
  issuedAt: NOW / 1000,
  expiresAt: NOW / 1000 + 60,
};
const GRANTS: readonly Grant[] = ["result", "status", "events", "cancel"];

function keyOf(id: string, secret: string): LinkKey {
  return { id, mac: (text) => createHmac("sha256", secret).update(text).digest() };
}

function open(query: string, { keys = [KEY], grant = LINK.grant, job = LINK.job, now = NOW } = {}) {
  return openLink(keys, query, { grant, job }, now);
}

const ALTERED = { kind: "refused", reason: "altered" };

const links = fc
  .record({
    grant: fc.constantFrom(...GRANTS),
    owner: fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
    job: fc.option(fc.stringMatching(/^[\w-]{22}$/)),
    issuedAt: fc.integer({ min: 1, max: 4_000_000_000 }),
    lasts: fc.integer({ min: 1, max: 10_000_000 }),
  })
  // Only events are also those of all jobs.
  .map(
    ({ lasts, job, ...link }): Link => ({
      ...link,
      job: link.grant === "events" ? job : (job ?? "kq3v9"),
      expiresAt: link.issuedAt + lasts,
    }),
  );

describe("a signed link", () => {
  it("opens what it was signed for, for its owner", () => {
    fc.assert(
      fc.property(links, (link) => {
        const opened = open(signLink(KEY, link), { ...link, now: link.expiresAt * 1000 - 1 });
        expect(opened).toEqual({ kind: "granted", link, keyId: "k1" });
      }),
    );
  });

  it("reads as it is documented", () => {
    const query = signLink(KEY, LINK);
    expect(query).toMatch(/^ck=k1&co=YWRh&ci=1760000000&ce=1760000060&cs=[\w-]{43}$/);
    expect(new URL(`https://jobs.example/jobs/kq3v9/result?${query}`).search).toBe(`?${query}`);
  });

  it("opens nothing else: no other job, and nothing else of the same job", () => {
    for (const signed of GRANTS)
      for (const grant of GRANTS) {
        const opened = open(signLink(KEY, { ...LINK, grant: signed }), { grant });
        expect(opened.kind).toBe(grant === signed ? "granted" : "refused");
      }
    expect(open(signLink(KEY, LINK), { job: "kq3v8" })).toEqual(ALTERED);
    expect(openLink([KEY], signLink(KEY, LINK), { grant: "result", job: null }, NOW)).toEqual(ALTERED);
    expect(open(signLink(KEY, { ...LINK, job: null }), { job: "null" })).toEqual(ALTERED);
  });

  it("ends at its second, and says so only where it is otherwise right", () => {
    const query = signLink(KEY, LINK);
    expect(open(query, { now: LINK.expiresAt * 1000 - 1 }).kind).toBe("granted");
    expect(open(query, { now: LINK.expiresAt * 1000 })).toEqual({ kind: "refused", reason: "expired" });
    expect(open(query, { now: LINK.expiresAt * 1000, job: "other" })).toEqual(ALTERED);
  });

  it("is refused with any bit of its path and query changed (F1)", () => {
    fc.assert(
      fc.property(links, (link) => {
        const url = `${pathOf(link)}?${signLink(KEY, link)}`;
        expect(follow(url, link)).toBe("granted");
        const bytes = Buffer.from(url);
        for (let bit = 0; bit < bytes.length * 8; bit++) {
          const changed = Buffer.from(bytes);
          changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
          const text = changed.toString("latin1");
          expect(follow(text, link), text).not.toBe("granted");
        }
      }),
      { numRuns: 30 },
    );
  });

  it("is refused with any bit of what a proxy would decode changed back, or spelled in another way", () => {
    const query = signLink(KEY, LINK);
    const others = [
      query.replace("co=YWRh", "co=YWRh="),
      query.replace("co=YWRh", "co=YWR%68"),
      query.replace("ck=k1", "ck=%6b1"),
      query.replace("ce=", "ce=0"),
      query.replace("ce=", "ce=+"),
      query.replace("ce=1760000060", "ce=1.76000006e9"),
      query.replace("ce=1760000060", "ce=1760000061"),
      query.replace("ci=1760000000", "ci=1759999999"),
      query.replace(/cs=.*/, "cs="),
      query.replace(/cs=.*/, ""),
      `${query}=`,
      `${query}A`,
      query.slice(0, -1),
      query.replace("cs=", "CS="),
      `ck=k1`,
      `cs`,
    ];
    for (const other of others) expect(open(other), other).toEqual(ALTERED);
    // The last character of 43 has two bits that no byte has.
    const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const taken = [...last].filter((char) => open(query.slice(0, -1) + char).kind === "granted");
    expect(taken).toEqual([query.at(-1)]);
  });

  it("tolerates parameters of others, before and after, and none of its own twice", () => {
    const query = signLink(KEY, LINK);
    for (const other of [
      `${query}&api-version=2024`,
      `api-version=1&${query}`,
      `&&${query}&x&y=`,
      `${query}&C=1&CK=2&cks=3`,
    ])
      expect(open(other).kind, other).toBe("granted");
    const shuffled = query.split("&").reverse().join("&a=1&");
    expect(open(shuffled).kind).toBe("granted");
    for (const part of query.split("&")) {
      expect(open(`${query}&${part}`), part).toEqual(ALTERED);
      expect(open(`${part.slice(0, 2)}&${query}`), part).toEqual(ALTERED);
    }
  });

  it("is none where a query has no parameter of its own", () => {
    for (const query of ["", "redirect=false", "api-version=1&CS=x", "%63s=x"])
      expect(open(query)).toEqual({ kind: "unsigned" });
  });
});

describe("keys of links", () => {
  it("rotate: what an older key signed opens while the key is there, and no longer", () => {
    const [older, newer] = [signLink(KEY, LINK), signLink(keyOf("k2", "second"), LINK)];
    const keys = [keyOf("k2", "second"), KEY];
    expect([open(older, { keys }), open(newer, { keys })]).toMatchObject([{ keyId: "k1" }, { keyId: "k2" }]);
    expect(open(older, { keys: keys.slice(0, 1) })).toEqual(ALTERED);
    expect(open(older, { keys: [] })).toEqual(ALTERED);
  });

  it("are bound by their id: the same link under another key's id is altered", () => {
    const keys = [KEY, keyOf("k2", "first")];
    expect(open(signLink(KEY, LINK).replace("ck=k1", "ck=k2"), { keys })).toEqual(ALTERED);
  });

  it("sign only what can be opened", () => {
    const wrong: [LinkKey, Link][] = [
      [keyOf("", "x"), LINK],
      [keyOf("k&1", "x"), LINK],
      [keyOf("k".repeat(33), "x"), LINK],
      [KEY, { ...LINK, expiresAt: LINK.issuedAt }],
      [KEY, { ...LINK, expiresAt: LINK.expiresAt + 0.5 }],
      [KEY, { ...LINK, issuedAt: 0 }],
      [KEY, { ...LINK, expiresAt: 1e15 }],
      [KEY, { ...LINK, owner: "" }],
      [KEY, { ...LINK, owner: "\ud800" }],
    ];
    for (const [key, link] of wrong) expect(() => signLink(key, link)).toThrow(RangeError);
  });
});

it("no two links have the same text to sign", () => {
  fc.assert(
    fc.property(links, links, (one, other) => {
      const texts = [one, other].map((link) => {
        let signed = "";
        const mac = (text: string) => {
          signed = text;
          return Buffer.alloc(32);
        };
        signLink({ id: "k1", mac }, link);
        return signed;
      });
      expect(texts[0] === texts[1]).toBe(JSON.stringify(one) === JSON.stringify(other));
    }),
  );
});

it("a log is told that there was a link, and nothing that opens it", () => {
  const query = signLink(KEY, LINK);
  const hidden = hideLink(`/jobs/kq3v9/result?api=1&${query}&x=2#f`);
  expect(hidden).toBe("/jobs/kq3v9/result?api=1&ck=-&co=-&ci=-&ce=-&cs=-&x=2#f");
  expect(hideLink("/jobs?status=failed&acs=1")).toBe("/jobs?status=failed&acs=1");
});

function pathOf({ grant, job }: Link): string {
  const monitor = job === null ? "/jobs" : `/jobs/${job}`;
  return grant === "status" || grant === "cancel" ? monitor : `${monitor}/${grant}`;
}

/** What a server makes of a URL: one of its routes, if any; then the link. */
function follow(url: string, { grant, expiresAt }: Link): string {
  const [target = ""] = url.split("#");
  const [path = "", ...queries] = target.split("?");
  if (path === "/jobs/events") return follows("events", null);
  const [, job, part] = /^\/jobs\/([^/]+)(?:\/(result|events))?$/.exec(path) ?? [];
  if (job === undefined) return "no such route";
  return follows((part as Grant | undefined) ?? (grant === "cancel" ? "cancel" : "status"), job);

  function follows(asked: Grant, named: string | null): string {
    return openLink([KEY], queries.join("?"), { grant: asked, job: named }, expiresAt * 1000 - 1).kind;
  }
}
