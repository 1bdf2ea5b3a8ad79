import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { StoreUnavailable } from "../store/store.ts";
import { createAccess, wwwAuthenticate } from "./access.ts";
import { createApiKey } from "./api-keys.ts";
import type { Denied, Identity } from "./identity.ts";
import { createJwtJudge, type JwtOptions } from "./jwt.ts";
import { readTiers } from "./tiers.ts";

const ISSUER = "https://issuer.example";
const AUDIENCE = "https://coatcheck.example";
const tiers = readTiers({ paid: { weight: 4 } });

interface Pair {
  readonly alg: string;
  readonly kid: string;
  readonly privateKey: Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];
  readonly publicKey: Awaited<ReturnType<typeof generateKeyPair>>["publicKey"];
  readonly jwk: object;
}

async function makePair(alg: string, kid: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

const seconds = () => Math.floor(Date.now() / 1000);

/** A token that is valid, but for what the overrides say; undefined removes a claim. */
function sign(pair: Pair, overrides: Record<string, unknown> = {}, header: object = {}): Promise<string> {
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: "ada", exp: seconds() + 600, ...overrides };
  const payload = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return new SignJWT(payload as JWTPayload)
    .setProtectedHeader({ alg: pair.alg, kid: pair.kid, ...header })
    .sign(pair.privateKey);
}

let rsa: Pair;
let ec: Pair;
let ed: Pair;

beforeAll(async () => {
  [rsa, ec, ed] = await Promise.all([
    makePair("RS256", "rsa"),
    makePair("ES256", "ec"),
    makePair("EdDSA", "ed"),
  ]);
});

function judge(overrides: Partial<JwtOptions> = {}, now?: () => number) {
  const options = {
    jwks: { keys: [rsa.jwk, ec.jwk, ed.jwk] },
    issuer: ISSUER,
    audience: AUDIENCE,
    ...overrides,
  };
  return createJwtJudge(options, tiers, now);
}

describe("a token", () => {
  test.each(["RS256", "ES256", "EdDSA"])("signed by %s is accepted", async (alg) => {
    const pair = [rsa, ec, ed].find((one) => one.alg === alg)!;
    const identity = (await judge()(await sign(pair))) as Identity;
    expect(identity).toMatchObject({ owner: "ada", tier: { name: "default" } });
    expect([...identity.scopes]).toEqual(["submit", "read", "cancel"]);
  });

  test("may leave out which key it is signed with", async () => {
    const second = await makePair("RS256", "rsa-2");
    const jwks = { keys: [rsa.jwk, second.jwk] };
    const third = await makePair("RS256", "rsa-3");
    expect(await judge({ jwks })(await sign(second, {}, { kid: undefined }))).toMatchObject({ owner: "ada" });
    expect(await judge({ jwks })(await sign(third, {}, { kid: undefined }))).toEqual({
      denied: "The token's signature is not valid.",
    });
  });

  test.each([
    [{ exp: 1 }, "The token has expired."],
    [{ exp: undefined }, 'The token lacks the claim "exp".'],
    [{ nbf: 4_102_444_800 }, "The token is not valid yet."],
    [{ aud: "https://other.example" }, "The token is meant for another audience."],
    [{ aud: undefined }, 'The token lacks the claim "aud".'],
    [{ iss: "https://other.example" }, "The token's issuer is not one that this server trusts."],
    [{ iss: undefined }, 'The token lacks the claim "iss".'],
    [{ sub: undefined }, 'The token\'s claim "sub" does not name an owner.'],
    [{ sub: "" }, 'The token\'s claim "sub" does not name an owner.'],
    [{ exp: "tomorrow" }, 'The token\'s claim "exp" is not valid.'],
  ])("with %j is denied", async (claims, denied) => {
    expect(await judge()(await sign(rsa, claims))).toEqual({ denied });
  });

  test("that expired within the tolerance is accepted, and beyond it denied", async () => {
    const token = await sign(rsa, { exp: seconds() - 20 });
    expect(await judge()(token)).toMatchObject({ owner: "ada" });
    expect(await judge({ clockToleranceSeconds: 5 })(token)).toEqual({ denied: "The token has expired." });
  });

  test("of which any part was changed is denied", async () => {
    const token = await sign(rsa);
    const [header = "", payload = "", signature = ""] = token.split(".");
    const forged = Buffer.from(JSON.stringify({ ...decode(payload), sub: "eve" })).toString("base64url");
    const flipped = (signature[9] === "A" ? "B" : "A") + signature.slice(1);
    const otherKey = Buffer.from(JSON.stringify({ ...decode(header), kid: "ec" })).toString("base64url");
    for (const tampered of [
      `${header}.${forged}.${signature}`,
      `${header}.${payload}.${flipped}`,
      `${otherKey}.${payload}.${signature}`,
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${header}..${signature}`,
      "a.b.c",
      "nonsense",
    ]) {
      expect(await judge()(tampered)).toHaveProperty("denied");
    }
  });

  test("without a signature (alg none) is denied", async () => {
    const unsecured = new UnsecuredJWT({ sub: "ada" })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setExpirationTime("1h")
      .encode();
    expect(await judge()(unsecured)).toHaveProperty("denied");
  });

  test("signed by HMAC with a public key as the secret is denied", async () => {
    const claims = { iss: ISSUER, aud: AUDIENCE, sub: "eve", exp: seconds() + 600 };
    const head = ["rsa", undefined].map((kid) => ({ alg: "HS256", kid }));
    for (const secret of [await exportSPKI(rsa.publicKey), JSON.stringify(rsa.jwk)]) {
      for (const header of head) {
        const text = `${encode(header)}.${encode(claims)}`;
        const token = `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
        expect(await judge()(token)).toEqual({ denied: "The token's signature algorithm is not accepted." });
      }
    }
  });

  test("that brings its own key along is denied", async () => {
    const own = await makePair("RS256", "rsa");
    const token = await sign(own, {}, { jwk: own.jwk, jku: "https://eve.example/jwks.json" });
    expect(await judge()(token)).toEqual({ denied: "The token's signature is not valid." });
  });

  test("signed by an algorithm that is not on the list is denied", async () => {
    expect(await judge({ algorithms: ["ES256"] })(await sign(rsa))).toEqual({
      denied: "The token's signature algorithm is not accepted.",
    });
  });
});

describe("claims", () => {
  const scopesOf = async (claims: object, options: Partial<JwtOptions> = {}) => [
    ...((await judge(options)(await sign(rsa, { ...claims }))) as Identity).scopes,
  ];

  test("scopes are read from text and from lists, and foreign words are passed over", async () => {
    expect(await scopesOf({ scope: "openid read submit" })).toEqual(["submit", "read"]);
    expect(await scopesOf({ scp: ["work", "profile"] }, { claims: { scopes: "scp" } })).toEqual(["work"]);
    expect(await scopesOf({ scope: "openid" })).toEqual([]);
    expect(await scopesOf({ scope: 7 })).toEqual([]);
  });

  test("scopes are a caller's where the operator says that tokens do not carry them", async () => {
    expect(await scopesOf({ scope: "openid" }, { claims: { scopes: null } })).toEqual([
      "submit",
      "read",
      "cancel",
    ]);
  });

  test("owner and tier come from the claims that the operator names", async () => {
    const mapped = judge({ claims: { owner: "org", tier: "plan" } });
    expect(await mapped(await sign(rsa, { org: "acme", plan: "paid" }))).toMatchObject({
      owner: "acme",
      tier: { name: "paid" },
    });
    expect(await mapped(await sign(rsa, { org: "acme", plan: "unheard-of" }))).toMatchObject({
      tier: { name: "default" },
    });
    expect(await mapped(await sign(rsa, { org: ["acme"] }))).toEqual({
      denied: 'The token\'s claim "org" does not name an owner.',
    });
  });
});

test("an accepted token is answered from memory, and no longer than it is valid", async () => {
  let now = Date.now();
  const remembering = judge({}, () => now);
  const token = await sign(rsa, { exp: Math.floor(now / 1000) + 60 });
  expect(remembering(token)).toBeInstanceOf(Promise);
  await remembering(token);
  expect(remembering(token)).toMatchObject({ owner: "ada" });
  now += 91_000;
  expect(await remembering(token)).toEqual({ denied: "The token has expired." });
});

describe("keys behind a URL", () => {
  let server: Server;
  let url: URL;
  let served: { status: number; body: string };
  let fetches: number;

  beforeEach(async () => {
    fetches = 0;
    served = { status: 200, body: JSON.stringify({ keys: [rsa.jwk] }) };
    server = createServer((_, response) => {
      fetches += 1;
      response.writeHead(served.status, { "content-type": "application/json" }).end(served.body);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`);
  });

  afterEach(async () => {
    await stop(server);
  });

  const rotate = (...pairs: readonly Pair[]) => {
    served = { status: 200, body: JSON.stringify({ keys: pairs.map((pair) => pair.jwk) }) };
  };

  test("are fetched once for many tokens", async () => {
    const remote = judge({ jwks: url });
    for (const sub of ["ada", "bob", "cy"])
      expect(await remote(await sign(rsa, { sub }))).toMatchObject({ owner: sub });
    expect(fetches).toBe(1);
  });

  test("are fetched again for an unknown key id, but not before the cooldown has passed", async () => {
    let now = Date.now();
    const remote = judge({ jwks: url, timing: { cooldownMs: 30_000 } }, () => now);
    await remote(await sign(rsa));
    rotate(rsa, ec);
    const token = await sign(ec);
    expect(await remote(token)).toEqual({
      denied: "The token is signed with a key that this server does not know.",
    });
    expect(fetches).toBe(1);
    now += 30_000;
    expect(await remote(token)).toMatchObject({ owner: "ada" });
    expect(fetches).toBe(2);
  });

  test("that were withdrawn are no longer trusted once the keys were fetched again", async () => {
    let now = Date.now();
    const remote = judge({ jwks: url }, () => now);
    const token = (sub: string) => sign(rsa, { sub, exp: seconds() + 7200 });
    await remote(await token("ada"));
    rotate(ec);
    now += 600_001;
    // The first token after ten minutes only sets off the fetch.
    await remote(await token("bob"));
    await expect
      .poll(async () => await remote(await token(`cy-${Math.random()}`)))
      .toEqual({ denied: "The token is signed with a key that this server does not know." });
    expect(await remote(await token("ada"))).toHaveProperty("denied");
  });

  test.each([
    ["answers 500", { status: 500, body: "{}" }],
    ["answers no JSON", { status: 200, body: "<html>" }],
    ["answers no key set", { status: 200, body: '{"keys":7}' }],
    ["redirects", { status: 302, body: "" }],
    ["never stops", { status: 200, body: `{"keys":[],"pad":"${"a".repeat(300_000)}"}` }],
  ])("of a server that %s can't be known: neither let in nor denied", async (_, answer) => {
    served = answer;
    await expect(judge({ jwks: url })(await sign(rsa))).rejects.toThrow(StoreUnavailable);
  });

  test("of a server that is down can't be known, and are once it is back", async () => {
    let now = Date.now();
    served = { status: 503, body: "" };
    const remote = judge({ jwks: url }, () => now);
    const token = await sign(rsa);
    await expect(remote(token)).rejects.toThrow(StoreUnavailable);
    await expect(remote(token)).rejects.toThrow(StoreUnavailable);
    expect(fetches).toBe(1);
    rotate(rsa);
    now += 1000;
    expect(await remote(token)).toMatchObject({ owner: "ada" });
  });

  test("outlive an outage for a day", async () => {
    let now = Date.now();
    const remote = judge({ jwks: url }, () => now);
    const token = (sub: string) => sign(rsa, { sub, exp: seconds() + 200_000 });
    await remote(await token("ada"));
    await stop(server);
    now += 3_600_000;
    expect(await remote(await token("bob"))).toMatchObject({ owner: "bob" });
    now += 86_400_000;
    await expect(remote(await token("cy"))).rejects.toThrow(StoreUnavailable);
  });
});

test("keys and tokens are taken side by side, and a foreign token is challenged", async () => {
  const { key, prefix, hash } = createApiKey();
  const access = createAccess({
    tiers,
    keys: [
      {
        name: "k",
        prefix,
        hash,
        owner: "kim",
        tier: "paid",
        scopes: ["read"],
        createdAt: null,
        expiresAt: null,
      },
    ],
    jwt: { jwks: { keys: [rsa.jwk] }, issuer: ISSUER, audience: AUDIENCE },
  });
  const asked = (token: string) => {
    const authorization = `Bearer ${token}`;
    return access({
      url: "/",
      headers: { authorization },
      rawHeaders: ["Authorization", authorization],
    } as unknown as IncomingMessage);
  };
  expect(access.kind).toBe("keys-and-jwt");
  expect(await asked(key)).toMatchObject({ owner: "kim" });
  expect(await asked(await sign(rsa))).toMatchObject({ owner: "ada" });
  const denied = (await asked(await sign(ec))) as Denied;
  expect(wwwAuthenticate(denied)).toBe('Bearer realm="coatcheck", error="invalid_token"');
});

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decode(part: string): object {
  return JSON.parse(Buffer.from(part, "base64url").toString()) as object;
}

async function stop(server: Server): Promise<void> {
  if (!server.listening) return;
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}
