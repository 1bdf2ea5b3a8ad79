import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defineOperation } from "../core/operation.ts";
import { type ApiKey, createApiKey } from "../http/api-keys.ts";
import { loadConfig } from "./config.ts";
import { createGuard } from "./guard.ts";
import { changeKeysFile, readKeysFile } from "./keys-file.ts";

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "coatcheck-guard-"));
  path = join(directory, "data/keys.json");
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

function newKey(name: string): { readonly key: string; readonly entry: ApiKey } {
  const { key, prefix, hash } = createApiKey();
  const scopes = ["submit", "read"] as const;
  const expiresAt = Date.UTC(2090, 0, 1);
  return {
    key,
    entry: { name, prefix, hash, owner: name, tier: "default", scopes, createdAt: 0, expiresAt },
  };
}

const bearer = (key: string) => {
  const authorization = `Bearer ${key}`;
  const rawHeaders = ["Authorization", authorization];
  return { url: "/", headers: { authorization }, rawHeaders } as unknown as IncomingMessage;
};

test("a running server takes new keys, forgets revoked ones, and keeps what it knew while the file is broken", async () => {
  const ada = newKey("ada");
  const bob = newKey("bob");
  await changeKeysFile(path, () => [ada.entry]);
  const operation = JSON.stringify(defineOperation({ name: "echo", path: "/echo" }));
  await writeFile(
    join(directory, "coatcheck.config.mjs"),
    `export default { operations: [{ operation: ${operation}, handler() {} }] };`,
  );
  const config = await loadConfig({ directory, environment: {} });
  const mistakes: string[] = [];
  const { access, close } = createGuard(config, (mistake) => mistakes.push(mistake));
  try {
    expect(access(bearer(ada.key))).toMatchObject({ owner: "ada" });
    await changeKeysFile(path, (keys) => [...keys, bob.entry]);
    await expect.poll(() => access(bearer(bob.key)), { timeout: 10_000 }).toMatchObject({ owner: "bob" });
    await changeKeysFile(path, (keys) => keys.filter(({ name }) => name !== "ada"));
    await expect.poll(() => access(bearer(ada.key)), { timeout: 10_000 }).toHaveProperty("denied");
    await writeFile(path, "{");
    await expect
      .poll(() => mistakes.at(-1), { timeout: 10_000 })
      .toContain("is not JSON. The keys stay as they were.");
    expect(access(bearer(bob.key))).toMatchObject({ owner: "bob" });
    await rm(path);
    await expect.poll(() => access(bearer(bob.key)), { timeout: 10_000 }).toHaveProperty("denied");
  } finally {
    close();
  }
});

test("a keys file is read back as it was written, and is its user's alone", async () => {
  const { entry } = newKey("ada");
  await changeKeysFile(path, () => [entry]);
  expect(await readKeysFile(path)).toEqual([entry]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("of many changes at once none is lost", async () => {
  const entries = Array.from({ length: 12 }, (_, at) => newKey(`key-${at}`).entry);
  await Promise.all(entries.map((entry) => changeKeysFile(path, (keys) => [...keys, entry])));
  expect((await readKeysFile(path))?.map(({ name }) => name).sort()).toEqual(
    entries.map(({ name }) => name).sort(),
  );
});

test("a change that throws leaves the file as it was", async () => {
  const { entry } = newKey("ada");
  await changeKeysFile(path, () => [entry]);
  await expect(
    changeKeysFile(path, () => {
      throw new RangeError("no");
    }),
  ).rejects.toThrow("no");
  expect(await readKeysFile(path)).toEqual([entry]);
  // The lock is open again.
  await changeKeysFile(path, () => []);
  expect(await readKeysFile(path)).toEqual([]);
});
