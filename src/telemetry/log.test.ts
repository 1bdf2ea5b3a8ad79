import type { IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import type { Event, EventKind } from "../core/event.ts";
import { createLog, type LogOptions, logTransitions } from "./log.ts";

function gather(options: LogOptions = {}) {
  const lines: string[] = [];
  const log = createLog({
    pretty: false,
    ...options,
    to: { write: (line: string) => void lines.push(line) },
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? "null") as Record<string, unknown> };
}

function event(kind: EventKind, overrides: Partial<Event> = {}): Event {
  return {
    seq: 12,
    kind,
    at: 0,
    row: 3,
    id: "kq3v9",
    owner: "ada",
    operation: "render-report",
    status: "processing",
    attempt: 2,
    revision: 5,
    ...overrides,
  };
}

test("a transition is one JSON line with the job, its operation, owner, status and attempt", () => {
  const { log, lines, last } = gather();
  logTransitions(log, event("completed", { status: "completed" }));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/\}\n$/);
  const { time, ...rest } = last();
  expect(rest).toEqual({
    level: "info",
    event: "completed",
    job: "kq3v9",
    operation: "render-report",
    owner: "ada",
    status: "completed",
    attempt: 2,
    seq: 12,
    msg: "completed",
  });
  expect(new Date(String(time)).toISOString()).toBe(time);
});

test("every kind of event can be logged; progress and expiry are below info", () => {
  const { log, lines } = gather();
  const kinds: readonly EventKind[] = [
    "queued",
    "started",
    "retrying",
    "cancel-requested",
    "failed",
    "canceled",
  ];
  for (const kind of [...kinds, "progress", "expired"] as const) logTransitions(log, event(kind));
  expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(kinds);
});

test("what is not on the list of fields is never written, in whatever way it is logged", () => {
  const { log, lines } = gather({ level: "trace" });
  const secret = "canary-7f3a";
  log.info(
    { input: secret, result: secret, headers: { authorization: secret }, token: secret, key: secret },
    "one",
  );
  const child = log.child({ authorization: secret, job: "kq3v9" });
  child.child({ token: secret }).warn({ body: { deep: secret } }, "two");
  const error = Object.assign(new Error("three"), { input: secret, request: { headers: secret } });
  log.error({ err: error }, "three");
  log.error(Object.assign(new Error("four"), { response: secret }));
  const request = {
    method: "GET",
    url: `/jobs?access_token=${secret}`,
    headers: { authorization: secret },
  } as unknown as IncomingMessage;
  log.info({ req: request, res: { statusCode: 401, headers: secret } }, "five");
  logTransitions(log, { ...event("queued"), input: secret } as Event);
  expect(lines).toHaveLength(6);
  expect(lines.join("")).not.toContain(secret);
  expect(JSON.parse(lines[1]!)).toMatchObject({ level: "warn", job: "kq3v9", msg: "two" });
  expect(JSON.parse(lines[2]!)).toMatchObject({ err: { type: "Error", message: "three" } });
  expect(JSON.parse(lines[4]!)).toMatchObject({
    req: { method: "GET", path: "/jobs" },
    res: { statusCode: 401 },
  });
});

test("an error is logged with its code and its cause", () => {
  const { log, last } = gather();
  const cause = new TypeError("no such host");
  log.error({ err: Object.assign(new Error("down", { cause }), { code: "EHOST" }) }, "failed");
  expect(last()).toMatchObject({
    err: {
      type: "Error",
      message: "down",
      code: "EHOST",
      cause: { type: "TypeError", message: "no such host" },
    },
  });
});

test("the level is kept", () => {
  const { log, lines } = gather({ level: "error" });
  log.warn("not this");
  log.error("this");
  expect(lines).toHaveLength(1);
});

test("for people a transition is one line without braces", () => {
  const { log, lines } = gather({ pretty: true });
  logTransitions(log, event("failed", { status: "failed" }));
  logTransitions(log, event("queued", { owner: "local", attempt: 0 }));
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d warn job kq3v9 failed {2}render-report, attempt 2, for ada\n$/);
  expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d job kq3v9 queued {2}render-report\n$/);
});

test("for people other lines end with their fields, and errors with their stack", () => {
  const { log, lines } = gather({ pretty: true });
  log.info({ url: "http://127.0.0.1:2020", store: "memory:" }, "Ready");
  log.error({ err: new Error("broke") }, "It failed");
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d Ready {2}url=http:\/\/127\.0\.0\.1:2020 store=memory:\n$/);
  expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d error It failed\nError: broke\n +at /);
});

test("control characters neither repaint the terminal nor begin a new line", () => {
  const { log, lines } = gather({ pretty: true });
  logTransitions(log, event("queued", { owner: "eve\n00:00:00 job x completed\u001b[2J" }));
  expect(lines[0]).toContain("for eve\\x0a00:00:00 job x completed\\x1b[2J");
  expect(lines[0]!.split("\n")).toHaveLength(2);
});
