import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";
import { PROBLEMS } from "../core/problem.ts";
import { StoreUnavailable } from "../store/store.ts";

/** Stands in what goes wrong inside; no answer may hold it. */
const CANARY = "canary1942";
const GOOD = '{"text":"hello"}';

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

describe("a store that can't answer", () => {
  it("A3: is said to callers as 503 with Retry-After, on every route, and never as 202", async () => {
    const down = () => Promise.reject(new StoreUnavailable(`The disk at ${CANARY} is full.`));
    const opened = await open({
      between: (jobs) => ({
        ...jobs,
        submit: down,
        preview: down,
        get: down,
        wait: down,
        list: down,
        cancel: down,
      }),
    });
    const body = { method: "POST", body: GOOD, headers: { "content-type": "application/json" } };
    for (const [path, asked] of [
      ["/operations/echo", body],
      ["/operations/echo?dry-run=true", body],
      ["/jobs", {}],
      ["/jobs/x", {}],
      ["/jobs/x", { method: "DELETE" }],
      ["/jobs/x/result", {}],
    ] as const) {
      const answer = await opened.ask(path, asked);
      expect([path, answer.json?.type]).toEqual([path, `${PUBLIC_URL}/problems/unavailable`]);
      expect(answer.status).toBe(503);
      expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
      expect(answer.headers.get("cache-control")).toBe("private, no-store");
      expect(answer.text).not.toContain(CANARY);
    }
  });

  it("leaves an upload where it is in doubt whether its job was accepted", async () => {
    const opened = await open({
      between: (jobs) => ({ ...jobs, submit: () => Promise.reject(new StoreUnavailable("lost")) }),
    });
    const answer = await opened.ask("/operations/film", {
      method: "POST",
      body: "film",
      headers: { "content-type": "video/mp4" },
    });
    expect(answer.status).toBe(503);
    expect(await opened.stored()).toHaveLength(1);
  });
});

it("a bug is answered 500 with nothing of it but a number that the log has too", async () => {
  const opened = await open({
    between: (jobs) => ({ ...jobs, get: () => Promise.reject(new TypeError(`${CANARY} is not a function`)) }),
  });
  const answer = await opened.ask("/jobs/x");
  expect(answer).toMatchObject({ status: 500, json: { type: `${PUBLIC_URL}/problems/internal-error` } });
  expect(answer.json.instance).toMatch(/^urn:uuid:[\da-f-]{36}$/);
  expect(answer.text).not.toContain(CANARY);
  expect(opened.logs).toEqual([expect.objectContaining({ level: "error" })]);
});

it("every problem has a page at its type, readable without credentials", async () => {
  const { ask } = await open();
  const index = await ask("/problems", { as: "nobody" });
  expect(index.status).toBe(200);
  for (const [name, { title }] of Object.entries(PROBLEMS)) {
    expect(index.text).toContain(`problems/${name}`);
    const page = await ask(`/problems/${name}`, { as: "nobody" });
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(page.text).toContain(title);
  }
  for (const name of ["unknown", "constructor", "__proto__", "%3Cscript%3E"]) {
    expect((await ask(`/problems/${name}`, { as: "nobody" })).status).toBe(404);
  }
  for (const relation of ["result", "cancel"]) {
    expect((await ask(`/rels/${relation}`, { as: "nobody" })).status).toBe(200);
  }
});
