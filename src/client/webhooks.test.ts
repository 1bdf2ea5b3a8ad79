import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { formatSecret, parseSecret, signWebhook } from "../protocol/signature.ts";
import {
  rememberIds,
  type SeenIds,
  type VerifyOptions,
  verifyWebhook,
  type WebhookHeaders,
  WebhookRefused,
} from "./webhooks.ts";

const SECRET = formatSecret(new Uint8Array(24).fill(1));
const OTHER = formatSecret(new Uint8Array(24).fill(2));
const NOW = 1_760_000_000_000;
const EVENT = {
  type: "job.completed",
  timestamp: "2026-10-09T08:53:20.000Z",
  data: { id: "kq3v9", status: "completed" },
};
const BODY = JSON.stringify(EVENT);

interface Sent {
  readonly id?: string;
  readonly at?: number;
  readonly body?: string;
  readonly secrets?: readonly string[];
}

async function send({ id = "evt_1", at = NOW / 1000, body = BODY, secrets = [SECRET] }: Sent = {}) {
  const keys = secrets.map((text) => parseSecret(text)!);
  return {
    "webhook-id": id,
    "webhook-timestamp": `${at}`,
    "webhook-signature": await signWebhook(keys, id, at, body),
  };
}

/** "ok", or the reason. */
async function verdict(
  body: string,
  headers: WebhookHeaders,
  options: VerifyOptions = {},
  secrets: string | readonly string[] = SECRET,
) {
  try {
    await verifyWebhook(body, headers, secrets, { now: NOW, ...options });
    return "ok";
  } catch (error) {
    expect(error).toBeInstanceOf(WebhookRefused);
    return (error as WebhookRefused).reason;
  }
}

describe("a webhook", () => {
  it("gives its event, from a text, from bytes, and from headers of any kind", async () => {
    const headers = await send();
    const bytes = new TextEncoder().encode(BODY);
    const upper = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]),
    );
    const lists = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
    for (const raw of [BODY, bytes, bytes.buffer, Buffer.from(BODY)])
      for (const fields of [headers, upper, lists, new Headers(headers), { ...headers, other: undefined }])
        expect(await verifyWebhook(raw, fields, SECRET, { now: NOW })).toEqual({ id: "evt_1", ...EVENT });
  });

  it("of the standardwebhooks package is taken", async () => {
    const headers = {
      ...(await send()),
      "webhook-signature": new Webhook(SECRET).sign("evt_1", new Date(NOW), BODY),
    };
    expect(await verdict(BODY, headers)).toBe("ok");
  });

  it("is refused where a header is missing, empty, malformed or there twice", async () => {
    const headers = await send();
    for (const name of Object.keys(headers)) {
      expect(await verdict(BODY, { ...headers, [name]: undefined })).toBe("missing-header");
      expect(await verdict(BODY, { ...headers, [name]: "" })).toBe("missing-header");
      expect(await verdict(BODY, { ...headers, [name]: ["a", "b"] })).toBe("malformed-header");
      expect(await verdict(BODY, { ...headers, [name.toUpperCase()]: "a" })).toBe("malformed-header");
    }
    expect(await verdict(BODY, new Headers())).toBe("missing-header");
    const twice = new Headers(headers);
    twice.append("webhook-id", "evt_1");
    expect(await verdict(BODY, twice)).toBe("malformed-header");
    for (const at of ["now", "1e9", "-5", "1760000000.5", "01760000000", " "])
      expect(await verdict(BODY, { ...headers, "webhook-timestamp": at }), at).toBe("malformed-header");
  });

  it("is refused outside of five minutes, in both directions", async () => {
    const at = async (seconds: number, options: VerifyOptions = {}) =>
      verdict(BODY, await send({ at: NOW / 1000 + seconds }), options);
    expect(await Promise.all([at(-300), at(-301), at(300), at(301)])).toEqual([
      "ok",
      "too-old",
      "ok",
      "too-new",
    ]);
    expect(
      await Promise.all([at(-10, { toleranceSeconds: 9 }), at(-600, { toleranceSeconds: 600 })]),
    ).toEqual(["too-old", "ok"]);
    expect(await verdict(BODY, await send({ at: Math.floor(Date.now() / 1000) }), { now: Date.now() })).toBe(
      "ok",
    );
  });

  it("is refused where anything of it was changed", async () => {
    const headers = await send();
    const changed = [
      verdict(BODY.replace("completed", "failed"), headers),
      verdict(`${BODY}\n`, headers),
      verdict(BODY, { ...headers, "webhook-id": "evt_2" }),
      verdict(BODY, { ...headers, "webhook-timestamp": `${NOW / 1000 + 1}` }),
      verdict(BODY, { ...headers, "webhook-signature": `v1,${btoa("x".repeat(32))}` }),
      verdict(BODY, headers, {}, OTHER),
    ];
    expect(new Set(await Promise.all(changed))).toEqual(new Set(["wrong-signature"]));
  });

  it("is taken with the old secret and with the new one while they are rotated, on either side", async () => {
    const both = await send({ secrets: [OTHER, SECRET] });
    expect([await verdict(BODY, both), await verdict(BODY, both, {}, OTHER)]).toEqual(["ok", "ok"]);
    expect(await verdict(BODY, await send(), {}, [OTHER, SECRET])).toBe("ok");
  });

  it("is refused where its body is signed and no event", async () => {
    for (const body of [
      "",
      "null",
      "[]",
      "5",
      "{",
      '"x"',
      '{"type":"job.completed"}',
      JSON.stringify({ ...EVENT, data: null }),
      JSON.stringify({ ...EVENT, type: 5 }),
    ])
      expect(await verdict(body, await send({ body })), body).toBe("malformed-body");
    const latin = new Uint8Array([0xff]);
    const keys = [parseSecret(SECRET)!];
    const headers = {
      ...(await send()),
      "webhook-signature": await signWebhook(keys, "evt_1", NOW / 1000, latin),
    };
    await expect(verifyWebhook(latin, headers, SECRET, { now: NOW })).rejects.toThrow("not an event");
  });

  it("needs secrets that are some: else it is our mistake, not the sender's", async () => {
    const headers = await send();
    for (const secrets of ["", "secret", [], [SECRET, "whsec_x"], undefined as never])
      await expect(verifyWebhook(BODY, headers, secrets, { now: NOW })).rejects.toThrow(TypeError);
  });

  it("that is refused says what to answer, and nothing of what came", async () => {
    const refused = await verifyWebhook(BODY, await send(), OTHER, { now: NOW }).catch((error) => error);
    expect(refused).toMatchObject({ name: "WebhookRefused", reason: "wrong-signature", status: 400 });
    expect(refused.message).not.toContain("evt_1");
    expect(new WebhookRefused("replayed").status).toBe(204);
  });
});

describe("a replay", () => {
  it("of an id that was taken is refused, as are all but one of those at once", async () => {
    const seen = rememberIds({ now: () => NOW });
    const all = await Promise.all(
      Array.from({ length: 8 }, async () => verdict(BODY, await send(), { seen })),
    );
    expect(all.filter((one) => one === "ok")).toHaveLength(1);
    expect(all.filter((one) => one === "replayed")).toHaveLength(7);
    expect(await verdict(BODY, await send({ at: NOW / 1000 + 60 }), { seen })).toBe("replayed");
    expect(await verdict(BODY, await send({ id: "evt_2" }), { seen })).toBe("ok");
  });

  it("is taken again after its id was forgotten, because it could not be handled", async () => {
    const seen = rememberIds({ now: () => NOW });
    await verdict(BODY, await send(), { seen });
    seen.delete("evt_1");
    expect(await verdict(BODY, await send(), { seen })).toBe("ok");
  });

  it("does not use up an id that was never signed", async () => {
    const seen = rememberIds({ now: () => NOW });
    expect(await verdict(BODY, await send(), { seen }, OTHER)).toBe("wrong-signature");
    expect(await verdict("{}", await send({ body: "{}" }), { seen })).toBe("malformed-body");
    expect(await verdict(BODY, await send(), { seen })).toBe("ok");
  });

  it("is looked for in the user's own store, for as long as the timestamp could be taken at least", async () => {
    const asked: [string, number][] = [];
    const seen: SeenIds = { add: async (id, expiresAt) => asked.push([id, expiresAt]) < 2, delete: () => {} };
    expect(await verdict(BODY, await send(), { seen, rememberSeconds: 1 })).toBe("ok");
    expect(await verdict(BODY, await send(), { seen })).toBe("replayed");
    expect(asked).toEqual([
      ["evt_1", NOW + 600_000],
      ["evt_1", NOW + 4 * 86_400_000],
    ]);
  });

  it("is remembered until it ends, and in bounded memory", () => {
    let moment = 0;
    const seen = rememberIds({ most: 3, now: () => moment });
    expect([seen.add("a", 10), seen.add("a", 10)]).toEqual([true, false]);
    moment = 10;
    expect([seen.add("a", 20), seen.add("a", 20)]).toEqual([true, false]);
    for (const id of ["b", "c", "d"]) expect(seen.add(id, 20)).toBe(true);
    expect(["b", "c", "d"].map((id) => seen.add(id, 20))).toEqual([false, false, false]);
    expect(seen.add("a", 20)).toBe(true);
  });
});
