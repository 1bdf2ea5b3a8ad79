import { createHmac, randomBytes } from "node:crypto";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { formatSecret, parseSecret, signWebhook, verifySignature, type WebhookSecret } from "./signature.ts";

const SECRET = secretOf(1);
const OTHER = secretOf(2);
const NOW = Math.floor(Date.now() / 1000);

function secretOf(byte: number): WebhookSecret {
  return new Uint8Array(32).fill(byte);
}

describe("a secret", () => {
  it("is whsec_ and 24 to 64 bytes in base64, with padding or without", () => {
    for (const length of [24, 25, 32, 63, 64]) {
      const bytes = new Uint8Array(randomBytes(length));
      expect(parseSecret(formatSecret(bytes))).toEqual(bytes);
      expect(parseSecret(formatSecret(bytes).replaceAll("=", ""))).toEqual(bytes);
    }
  });

  it("is none where it is shorter, longer, or no base64", () => {
    const good = formatSecret(SECRET);
    const of = (length: number) => `whsec_${randomBytes(length).toString("base64")}`;
    const others = [
      "",
      "whsec_",
      of(0),
      of(23),
      of(65),
      good.slice(6),
      good.toUpperCase(),
      ` ${good}`,
      `${good} `,
      `${good}!`,
    ];
    others.push(
      good.replace("whsec_", "whsec_ "),
      good.replace("whsec_", "whpk_"),
      `${good.slice(0, -3)}-_=`,
      `${good}A`,
    );
    for (const text of others) expect(parseSecret(text), text).toBeNull();
    for (const length of [0, 23, 65]) expect(() => formatSecret(randomBytes(length))).toThrow(RangeError);
  });
});

describe("a signature", () => {
  it("is HMAC-SHA256 over id, timestamp and body, with the decoded secret", async () => {
    const expected = createHmac("sha256", SECRET).update(`msg_1.1700000000.{"a":"ü"}`).digest("base64");
    expect(await signWebhook([SECRET], "msg_1", 1_700_000_000, '{"a":"ü"}')).toBe(`v1,${expected}`);
    const bytes = new TextEncoder().encode('{"a":"ü"}');
    expect(await signWebhook([SECRET], "msg_1", 1_700_000_000, bytes)).toBe(`v1,${expected}`);
  });

  it("is made with every secret during a rotation, and holds for each of them", async () => {
    const header = await signWebhook([SECRET, OTHER], "id", NOW, "{}");
    expect(header).toMatch(/^v1,[\w+/]{43}= v1,[\w+/]{43}=$/);
    const holds = (...secrets: WebhookSecret[]) => verifySignature(secrets, "id", `${NOW}`, "{}", header);
    expect(
      await Promise.all([
        holds(SECRET),
        holds(OTHER),
        holds(secretOf(3), OTHER),
        holds(secretOf(3)),
        holds(),
      ]),
    ).toEqual([true, true, true, false, false]);
  });

  it("holds for the exact id, timestamp and body alone", async () => {
    const header = await signWebhook([SECRET], "id", NOW, "body");
    const holds = (id: string, timestamp: string, body: string, said = header) =>
      verifySignature([SECRET], id, timestamp, body, said);
    expect(await holds("id", `${NOW}`, "body")).toBe(true);
    expect(await holds("id", `${NOW}`, "body", `v1a,x v2,${header.slice(3)} v1, v1,AAAA ${header}`)).toBe(
      true,
    );
    expect(await holds("ie", `${NOW}`, "body")).toBe(false);
    expect(await holds("id", `${NOW + 1}`, "body")).toBe(false);
    expect(await holds("id", `0${NOW}`, "body")).toBe(false);
    expect(await holds("id", `${NOW}`, "body ")).toBe(false);
    for (const said of [
      "",
      "v1",
      "v1,",
      header.slice(3),
      header.replace("v1", "v2"),
      header.replace("v1,", "V1,"),
      ` v1,\n${header.slice(3)}`,
    ])
      expect(await holds("id", `${NOW}`, "body", said), said).toBe(false);
  });

  it("with any bit changed does not hold", async () => {
    const header = await signWebhook([SECRET], "id", NOW, "body");
    const bytes = Buffer.from(header.slice(3), "base64");
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      const said = `v1,${changed.toString("base64")}`;
      expect(await verifySignature([SECRET], "id", `${NOW}`, "body", said)).toBe(false);
    }
  });

  it("cannot stand for two messages: an id has no dot", async () => {
    for (const id of ["a.1", "", "a b", "a\n", "ü", "a".repeat(256)])
      await expect(signWebhook([SECRET], id, NOW, ""), id).rejects.toThrow(RangeError);
    const header = await signWebhook([SECRET], "a", 1, "2.x");
    expect(await verifySignature([SECRET], "a.1", "2", "x", header)).toBe(false);
    for (const timestamp of [0, -1, 1.5, Number.NaN, 1e15])
      await expect(signWebhook([SECRET], "a", timestamp, ""), `${timestamp}`).rejects.toThrow(RangeError);
    await expect(signWebhook([], "a", NOW, "")).rejects.toThrow(RangeError);
  });

  it("is not looked for in a header without end", async () => {
    const header = await signWebhook([SECRET], "id", NOW, "body");
    expect(await verifySignature([SECRET], "id", `${NOW}`, "body", `${"v1,A ".repeat(1_000)}${header}`)).toBe(
      false,
    );
  });
});

describe("beside the standardwebhooks package", () => {
  const message = fc.record({
    secret: fc.uint8Array({ minLength: 24, maxLength: 64 }),
    id: fc.stringMatching(/^[!-\-/-~]{1,60}$/),
    body: fc.json(),
  });

  it("what we sign it verifies", async () => {
    await fc.assert(
      fc.asyncProperty(message, async ({ secret, id, body }) => {
        const own = new Uint8Array(secret);
        const signature = await signWebhook([OTHER, own], id, NOW, body);
        const headers = { "webhook-id": id, "webhook-timestamp": `${NOW}`, "webhook-signature": signature };
        expect(new Webhook(formatSecret(own)).verify(body, headers)).toEqual(JSON.parse(body));
      }),
      { numRuns: 50 },
    );
  });

  it("what it signs we verify", async () => {
    await fc.assert(
      fc.asyncProperty(message, async ({ secret, id, body }) => {
        const own = new Uint8Array(secret);
        const signature = new Webhook(formatSecret(own)).sign(id, new Date(NOW * 1000), body);
        expect(await verifySignature([OTHER, own], id, `${NOW}`, body, signature)).toBe(true);
        expect(await verifySignature([OTHER], id, `${NOW}`, body, signature)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });
});
