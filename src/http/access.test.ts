import type { IncomingMessage } from "node:http";
import { describe, expect, test } from "vitest";
import { type AccessOptions, createAccess, wwwAuthenticate } from "./access.ts";
import { type ApiKey, createApiKey, hashOf } from "./api-keys.ts";
import type { Identity } from "./identity.ts";
import { readTiers } from "./tiers.ts";

const tiers = readTiers({ paid: { weight: 4 } });

function request(headers: readonly [string, string][], url = "/jobs"): IncomingMessage {
  const joined: Record<string, string> = {};
  // As Node does it: the first Authorization header wins.
  for (const [name, value] of headers) joined[name.toLowerCase()] ??= value;
  return { url, headers: joined, rawHeaders: headers.flat() } as unknown as IncomingMessage;
}

function bearer(token: string, url?: string): IncomingMessage {
  return request([["Authorization", `Bearer ${token}`]], url);
}

function stored(overrides: Partial<ApiKey> = {}): { readonly key: string; readonly entry: ApiKey } {
  const { key, prefix, hash } = createApiKey();
  const entry: ApiKey = {
    name: "laptop",
    prefix,
    hash,
    owner: "ada",
    tier: "paid",
    scopes: ["submit", "read"],
    createdAt: null,
    expiresAt: null,
    ...overrides,
  };
  return { key, entry };
}

async function denial(options: AccessOptions, asked: IncomingMessage): Promise<string> {
  const answer = await createAccess(options)(asked);
  if (!("denied" in answer)) throw new Error(`${answer.owner} was let in.`);
  return answer.denied;
}

describe("API keys", () => {
  test("a key has 256 random bits beside the characters that it is recognised by", () => {
    const { key, prefix, hash } = createApiKey();
    expect(key).toMatch(/^ck_[A-Za-z0-9_-]{51}$/);
    expect(key.slice(3, 11)).toBe(prefix);
    expect(hash).toBe(hashOf(key));
    expect(hash).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(createApiKey().key).not.toBe(key);
  });

  test("a known key gives its owner, tier and scopes, without waiting", () => {
    const { key, entry } = stored();
    const identity = createAccess({ tiers, keys: [entry] })(bearer(key)) as Identity;
    expect(identity.owner).toBe("ada");
    expect(identity.tier).toBe(tiers.get("paid"));
    expect([...identity.scopes]).toEqual(["submit", "read"]);
  });

  test("a key of which one character differs is denied, wherever it is", async () => {
    const { key, entry } = stored();
    for (const at of [3, 10, 11, 30, key.length - 1]) {
      const other = key.slice(0, at) + (key[at] === "A" ? "B" : "A") + key.slice(at + 1);
      expect(await denial({ tiers, keys: [entry] }, bearer(other))).toBe(
        "The API key is not one that this server knows.",
      );
    }
  });

  test("the stored hash is no key", async () => {
    const { entry } = stored();
    expect(await denial({ tiers, keys: [entry] }, bearer(entry.hash.slice("sha256:".length)))).toContain(
      "API key",
    );
    expect(await denial({ tiers, keys: [entry] }, bearer(entry.hash))).toContain("Bearer");
  });

  test("a key works until the moment at which it expires", () => {
    let now = 999;
    const { key, entry } = stored({ expiresAt: 1000 });
    const access = createAccess({ tiers, keys: [entry], now: () => now });
    expect(access(bearer(key))).toMatchObject({ owner: "ada" });
    now = 1000;
    expect(access(bearer(key))).toMatchObject({ denied: "The API key has expired." });
  });

  test("replaced keys count from the next request on", () => {
    const old = stored();
    const fresh = stored({ owner: "eve" });
    const access = createAccess({ tiers, keys: [old.entry] });
    access.replaceKeys([fresh.entry]);
    expect(access(bearer(old.key))).toHaveProperty("denied");
    expect(access(bearer(fresh.key))).toMatchObject({ owner: "eve" });
  });

  test("keys of a tier that there is not are refused, and the keys before them still count", () => {
    const { key, entry } = stored();
    const access = createAccess({ tiers, keys: [entry] });
    expect(() => access.replaceKeys([{ ...entry, tier: "gold" }])).toThrow(
      'of the tier "gold", which there is not',
    );
    expect(access(bearer(key))).toMatchObject({ owner: "ada" });
  });

  test("an empty list of keys lets nobody in", async () => {
    expect(await denial({ keys: [] }, bearer(stored().key))).toContain("not one that this server knows");
  });
});

describe("credentials", () => {
  const { key, entry } = stored();
  const options = { tiers, keys: [entry] };

  test("without an Authorization header one is told to send one", async () => {
    expect(await denial(options, request([]))).toBe("Send an `Authorization: Bearer …` header.");
  });

  test.each([
    ["the Basic scheme", `Basic ${Buffer.from(`user:${key}`).toString("base64")}`],
    ["no scheme", key],
    ["no token", "Bearer"],
    ["an empty token", "Bearer "],
    ["two tokens", `Bearer ${key} ${key}`],
    ["two credentials joined", `Bearer ${key}, Bearer ${key}`],
    ["quotes", `Bearer "${key}"`],
    ["a token without end", `Bearer ${"a".repeat(9000)}`],
  ])("an Authorization header with %s is denied without an echo", async (_, value) => {
    const denied = await denial(options, request([["Authorization", value]]));
    expect(denied).toBe("The Authorization header must be `Bearer` and one token.");
  });

  test("the scheme's name may be of any case (RFC 9110 §11.1)", () => {
    expect(createAccess(options)(request([["authorization", `bEARER ${key}`]]))).toMatchObject({
      owner: "ada",
    });
  });

  test("an Authorization header that was sent twice is denied, although the first is valid", async () => {
    const twice = request([
      ["Authorization", `Bearer ${key}`],
      ["X-Other", "1"],
      ["authorization", `Bearer ${key}`],
    ]);
    expect(await denial(options, twice)).toBe("The Authorization header was sent more than once.");
  });

  test.each(["access_token", "api_key", "apikey", "api-key", "API_KEY", "authorization"])(
    "a credential in the query parameter %s is denied, even beside a valid header",
    async (name) => {
      const denied = await denial(options, bearer(key, `/jobs?limit=1&${name}=${key}`));
      expect(denied).toMatch(/^Credentials are not taken from the URL/);
      expect(denied).not.toContain(key);
    },
  );

  test("a query parameter that only ends like a credential's is no credential", () => {
    expect(createAccess(options)(bearer(key, "/jobs?no_api_key=1&my-authorization=2"))).toMatchObject({
      owner: "ada",
    });
  });
});

describe("without keys and JWTs", () => {
  test("everyone is the one owner, who may do everything", () => {
    const access = createAccess();
    expect(access.kind).toBe("open");
    const identity = access(request([])) as Identity;
    expect(identity.owner).toBe("local");
    expect([...identity.scopes]).toEqual(["submit", "read", "cancel", "work", "admin"]);
    expect(identity.tier.name).toBe("default");
  });
});

describe("the app's own authentication", () => {
  test("whom the app knows is let in as a caller", async () => {
    const access = createAccess({ tiers, caller: async () => ({ owner: "ada", tier: "paid" }) });
    const identity = (await access(request([]))) as Identity;
    expect(identity).toMatchObject({ owner: "ada", tier: { name: "paid" } });
    expect([...identity.scopes]).toEqual(["submit", "read", "cancel"]);
  });

  test("it may give its own scopes, and sees the request", async () => {
    const access = createAccess({
      caller: (asked) => ({ owner: String(asked.headers["x-user"]), scopes: ["read"] }),
    });
    const identity = (await access(request([["X-User", "bob"]]))) as Identity;
    expect(identity.owner).toBe("bob");
    expect([...identity.scopes]).toEqual(["read"]);
  });

  test("whom the app does not know is denied", async () => {
    expect(await denial({ caller: () => null }, request([]))).toBe("The application does not know who asks.");
  });

  test.each([{ owner: "" }, { owner: "a\nb" }, { owner: "a".repeat(257) }, { owner: "ada", tier: "gold" }])(
    "an answer of %j is the app's mistake and lets nobody in",
    async (answer) => {
      await expect(createAccess({ caller: () => answer })(request([]))).rejects.toThrow(TypeError);
    },
  );

  test("an app that throws lets nobody in", async () => {
    const access = createAccess({
      caller: () => {
        throw new Error("no session store");
      },
    });
    await expect(access(request([]))).rejects.toThrow("no session store");
  });
});

test("WWW-Authenticate names the error only where credentials were sent (RFC 6750 §3.1)", async () => {
  const access = createAccess({ keys: [] });
  const answered = async (asked: IncomingMessage) => {
    const answer = await access(asked);
    return wwwAuthenticate("denied" in answer ? answer : undefined);
  };
  expect(await answered(request([]))).toBe('Bearer realm="coatcheck"');
  expect(await answered(bearer(stored().key))).toBe('Bearer realm="coatcheck", error="invalid_token"');
  expect(wwwAuthenticate({ lacks: "submit" })).toBe(
    'Bearer realm="coatcheck", error="insufficient_scope", scope="submit"',
  );
});
