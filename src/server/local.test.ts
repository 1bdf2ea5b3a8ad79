import Fastify, { type FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Config } from "./config.ts";
import { keepLocal } from "./local.ts";

describe("a server without credentials", () => {
  let app: FastifyInstance;
  beforeAll(async () => {
    app = Fastify();
    const config = { publicUrl: "http://desk.internal:2020", cors: { origins: ["https://app.example"] } };
    keepLocal(app, config as unknown as Config, () => "http://127.0.0.1:2020");
    app.all("/", (_request, reply) => reply.send("in"));
    await app.ready();
  });
  afterAll(() => app.close());

  const ask = async (method: "GET" | "POST", headers: Record<string, string>) =>
    (await app.inject({ method, url: "/", headers })).statusCode;

  it.each(["localhost:2020", "127.0.0.1:2020", "[::1]:2020", "127.0.0.1", "LOCALHOST", "desk.internal:2020"])(
    "answers under the name %s",
    async (host) => {
      expect(await ask("GET", { host })).toBe(200);
    },
  );

  it.each(["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:2020", "10.0.0.1:2020"])(
    "refuses the foreign name %s, so that a name that resolves to loopback opens nothing",
    async (host) => {
      expect(await ask("GET", { host })).toBe(403);
    },
  );

  it("refuses what a page of another site makes a browser send", async () => {
    const cross = { host: "localhost:2020", "sec-fetch-site": "cross-site" };
    expect(await ask("POST", { ...cross, "sec-fetch-mode": "no-cors" })).toBe(403);
    expect(await ask("POST", { ...cross, "sec-fetch-mode": "navigate" })).toBe(403);
    expect(await ask("GET", { ...cross, "sec-fetch-mode": "cors", origin: "https://evil.example" })).toBe(
      403,
    );
  });

  it("lets a person follow a link, and a page of a configured origin call", async () => {
    const cross = { host: "localhost:2020", "sec-fetch-site": "cross-site" };
    expect(await ask("GET", { ...cross, "sec-fetch-mode": "navigate" })).toBe(200);
    expect(await ask("POST", { ...cross, "sec-fetch-mode": "cors", origin: "https://app.example" })).toBe(
      200,
    );
  });
});
