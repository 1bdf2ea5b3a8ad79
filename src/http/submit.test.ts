import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";
import { problem } from "../core/problem.ts";

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

const JSON_TYPE = { "content-type": "application/json" };
const hello = (headers: Record<string, string> = {}, text = "hello") => ({
  method: "POST",
  body: JSON.stringify({ text }),
  headers: { ...JSON_TYPE, ...headers },
});
const UUID = "9f0c2a7e-1f7c-4a52-9a7d-0d5f3f6c8b21";
const put = (value: unknown, headers: Record<string, string> = {}) => ({
  method: "PUT",
  body: JSON.stringify(value),
  headers: { ...JSON_TYPE, ...headers },
});

describe("an accepted submit", () => {
  it("is answered 202 with every field of the protocol, and the body that the monitor has", async () => {
    const { ask } = await open();
    const answer = await ask("/operations/echo", hello());
    expect(answer.status).toBe(202);
    const url = `${PUBLIC_URL}/jobs/${answer.json.id}`;
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "cache-control": "no-store",
      "content-location": url,
      "content-type": "application/json",
      location: url,
      ratelimit: '"default";r=599;t=1',
      "ratelimit-policy": '"default";q=600;w=60',
      "retry-after": expect.stringMatching(/^[1-9]\d*$/),
      vary: "Prefer",
    });
    expect(answer.headers.get("link")).toContain(`<${url}>; rel="monitor"`);
    expect(answer.json).toMatchObject({ operation: "echo", status: "queued", position: 1, statusUrl: url });
    const monitor = await ask(`/jobs/${answer.json.id}`);
    const { estimatedCompletion: _first, ...first } = answer.json;
    const { estimatedCompletion: _second, ...second } = monitor.json;
    expect(second).toEqual(first);
  });

  it("keeps the input as it was sent, for the handler to get", async () => {
    const { ask, claim } = await open();
    const body = '{ "text": "é\\u00e9", "count": 1e2 }';
    await ask("/operations/echo", { method: "POST", body, headers: JSON_TYPE });
    expect((await claim()).input).toBe(body);
  });

  it("keeps the trace, the delay, the deadline and the priority", async () => {
    const { ask, ledger, keys } = await open();
    expect(keys.ada).toMatch(/^ck_/);
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const answer = await ask(
      "/operations/echo",
      hello({
        traceparent,
        "coatcheck-delay": "60",
        "coatcheck-deadline": "2h",
        "coatcheck-priority": "-3",
      }),
    );
    const caller = { owner: "ada", tier: { ...NO_TIER } };
    const { job } = (await ledger.jobs.get(caller, answer.json.id))!;
    expect(job.trace).toBe(traceparent);
    expect(job.dueAt - job.createdAt).toBe(60_000);
    expect(job.startBy! - job.createdAt).toBe(7_200_000);
    expect(job.policy.priority).toBe(-3);
    expect(answer.json.waitingFor).toBe("delay");
  });

  it("of an operation without input needs no body and no content type", async () => {
    const { ask, claim } = await open();
    const answer = await ask("/deep/empty", { method: "POST" });
    expect(answer.status).toBe(202);
    expect((await claim("empty")).input).toBe("null");
    expect((await ask("/deep/empty", { method: "POST", body: "{}", headers: JSON_TYPE })).status).toBe(202);
    expect((await ask("/deep/empty", { method: "POST", body: '{"a":1}', headers: JSON_TYPE })).status).toBe(
      422,
    );
  });

  it("takes parameters of the query that it does not know, unless told to be strict", async () => {
    const { ask } = await open();
    expect((await ask("/operations/echo?api-version=2", hello())).status).toBe(202);
    const strict = await ask("/operations/echo?api-version=2", hello({ prefer: "handling=strict" }));
    expect(strict.json).toMatchObject({ status: 400, type: `${PUBLIC_URL}/problems/invalid-query` });
    const fine = await ask("/operations/echo", hello({ prefer: "handling=strict" }));
    expect(fine.headers.get("preference-applied")).toBe("handling=strict");
  });

  it("with a preference that nobody knows is refused where it is told to be strict, and says which", async () => {
    const { ask, count } = await open();
    const answer = await ask("/operations/echo", hello({ prefer: "wait=5, canary1942=x, handling=strict" }));
    expect(answer.json).toMatchObject({
      status: 400,
      type: `${PUBLIC_URL}/problems/invalid-request`,
      detail: expect.stringContaining("preference 2 is not known here"),
    });
    expect(answer.text).not.toContain("canary1942");
    expect(await count()).toBe(0);
  });

  it("has a body where that is preferred, and says so", async () => {
    const { ask } = await open();
    const answer = await ask("/operations/echo", hello({ prefer: "return=representation" }));
    expect(answer).toMatchObject({ status: 202, json: { status: "queued" } });
    expect(answer.headers.get("preference-applied")).toBe("return=representation");
  });

  it("has no body where a minimal answer is preferred", async () => {
    const { ask } = await open();
    const answer = await ask("/operations/echo", hello({ prefer: "return=minimal" }));
    expect(answer).toMatchObject({ status: 202, text: "" });
    expect(answer.headers.get("content-type")).toBeNull();
    expect(answer.headers.get("content-location")).toBeNull();
    expect(answer.headers.get("location")).toContain("/jobs/");
  });

  it("joins what others said that the answer varies by", async () => {
    const { ask } = await open({
      around: (app) => {
        app.addHook("onRequest", (_request, reply, done) => {
          reply.header("vary", "Origin");
          done();
        });
      },
    });
    expect((await ask("/operations/echo", hello())).headers.get("vary")).toBe("Origin, Prefer");
  });
});

const NO_TIER = { name: "default", priority: 0, weight: 1, active: null, running: null, rate: null };

describe("a key", () => {
  it("B2: makes a repeat the same job, before, while and after it runs", async () => {
    const { ask, claim, complete, count } = await open();
    const first = await ask("/operations/echo", hello({ "idempotency-key": "k1" }));
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = async (status: string) => {
      const repeat = await ask("/operations/echo", hello({ "idempotency-key": '"k1"' }));
      expect(repeat).toMatchObject({ status: 202, json: { id: first.json.id, status } });
      expect(repeat.headers.get("idempotency-replayed")).toBe("true");
      expect(repeat.headers.get("location")).toBe(first.headers.get("location"));
    };
    await again("queued");
    const job = await claim();
    await again("processing");
    await complete(job, "1");
    await again("completed");
    expect(await count()).toBe(1);
  });

  it("B3: with another payload is answered 422 and has no effect", async () => {
    const { ask, count } = await open();
    await ask("/operations/echo", hello({ "idempotency-key": "k1" }));
    const other = await ask("/operations/echo", hello({ "idempotency-key": "k1" }, "other"));
    expect(other.json).toMatchObject({ status: 422, type: `${PUBLIC_URL}/problems/idempotency-key-reused` });
    expect(await count()).toBe(1);
  });

  it("B4: of one owner is nothing to another", async () => {
    const { ask, count } = await open();
    const mine = await ask("/operations/echo", hello({ "idempotency-key": "k1" }));
    const theirs = await ask("/operations/echo", { ...hello({ "idempotency-key": "k1" }, "x"), as: "bob" });
    expect(theirs.status).toBe(202);
    expect(theirs.json.id).not.toBe(mine.json.id);
    expect(await count()).toBe(2);
  });

  it("B5: is not used up by a request that was refused", async () => {
    const { ask } = await open();
    const key = { "idempotency-key": "k1" };
    expect((await ask("/operations/echo", { ...hello(key), body: '{"text":1}' })).status).toBe(422);
    expect((await ask("/operations/echo?dry-run=true", hello(key, "dry"))).status).toBe(200);
    const answer = await ask("/operations/echo", hello(key));
    expect(answer.status).toBe(202);
    expect(answer.headers.get("idempotency-replayed")).toBeNull();
  });

  it("is asked for where the operation requires one", async () => {
    const { ask } = await open();
    const answer = await ask("/operations/keyed", hello());
    expect(answer.json).toMatchObject({
      status: 400,
      type: `${PUBLIC_URL}/problems/idempotency-key-required`,
    });
    expect((await ask("/operations/keyed", hello({ "idempotency-key": "k" }))).status).toBe(202);
  });

  it("A6: 64 identical submits at once are 64 times 202 and one job", async () => {
    const { ask, count } = await open();
    const answers = await Promise.all(
      Array.from({ length: 64 }, () => ask("/operations/echo", hello({ "idempotency-key": "k1" }))),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1);
    expect(await count()).toBe(1);
  });
});

it("equal content is the same job while it lives, whatever its spaces and order", async () => {
  const { ask, claim, complete } = await open();
  const post = (body: string) => ask("/operations/same", { method: "POST", body, headers: JSON_TYPE });
  const first = await post('{"text":"a","count":1}');
  const second = await post('{ "count": 1, "text": "a" }');
  expect(second.json.id).toBe(first.json.id);
  expect((await post('{"text":"a","count":2}')).json.id).not.toBe(first.json.id);
  await complete(await claim("same"), "1");
  expect((await post('{"text":"a","count":1}')).json.id).not.toBe(first.json.id);
});

describe("PUT with the caller's own id", () => {
  it("submits, and its repeat is the same job", async () => {
    const { ask, claim, count } = await open();
    const body = { operation: "echo", input: { text: "hello" } };
    const first = await ask(`/jobs/${UUID}`, put(body));
    expect(first).toMatchObject({ status: 202, json: { id: UUID, operation: "echo" } });
    expect(first.headers.get("location")).toBe(`${PUBLIC_URL}/jobs/${UUID}`);
    const repeat = await ask(`/jobs/${UUID}`, put(body));
    expect(repeat.status).toBe(202);
    expect(repeat.headers.get("idempotency-replayed")).toBe("true");
    expect(await count()).toBe(1);
    expect((await claim()).input).toBe('{"text":"hello"}');
  });

  it("with another payload is answered 422", async () => {
    const { ask } = await open();
    await ask(`/jobs/${UUID}`, put({ operation: "echo", input: { text: "hello" } }));
    const other = await ask(`/jobs/${UUID}`, put({ operation: "echo", input: { text: "other" } }));
    expect(other.status).toBe(422);
  });

  it("D1: another owner's id is free to use", async () => {
    const { ask, count } = await open();
    const body = put({ operation: "echo", input: { text: "hello" } });
    await ask(`/jobs/${UUID}`, body);
    const theirs = await ask(`/jobs/${UUID}`, { ...body, as: "bob" });
    expect(theirs.status).toBe(202);
    expect(theirs.headers.get("idempotency-replayed")).toBeNull();
    expect(await count()).toBe(2);
  });

  it("is of the job at its own URL, whatever key comes along and however equal the content", async () => {
    const { ask, count } = await open();
    const other = "1d2c3b4a-5e6f-4a7b-8c9d-0a1b2c3d4e5f";
    for (const operation of ["echo", "same"]) {
      const ids = [`${operation}-${UUID}`, `${operation}-${other}`];
      for (const id of ids) {
        const body = put({ operation, input: { text: "hello" } }, { "idempotency-key": "k1" });
        const answer = await ask(`/jobs/${id}`, body);
        expect(answer).toMatchObject({ status: 202, json: { id } });
        expect(answer.headers.get("location")).toBe(`${PUBLIC_URL}/jobs/${id}`);
      }
    }
    expect(await count()).toBe(4);
  });

  it.each([22, 100])("takes an id of %i characters, and the job is found by it", async (length) => {
    const { ask } = await open();
    const id = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDEFGHIJKL".repeat(2).slice(0, length);
    expect((await ask(`/jobs/${id}`, put({ operation: "echo", input: { text: "a" } }))).status).toBe(202);
    expect((await ask(`/jobs/${id}`)).json).toMatchObject({ id, status: "queued" });
  });

  it("needs no key where the operation requires one", async () => {
    const { ask } = await open();
    const answer = await ask(`/jobs/${UUID}`, put({ operation: "keyed", input: { text: "a" } }));
    expect(answer.status).toBe(202);
  });

  it.each([
    ["a short id", "abc", { operation: "echo", input: { text: "a" } }, 400, undefined],
    ["an id of 101 characters", UUID.repeat(3).slice(0, 101), { operation: "echo" }, 400, undefined],
    ["an id of 1001 characters", UUID.repeat(30).slice(0, 1001), { operation: "echo" }, 400, undefined],
    ["an id like a counter", "0".repeat(30), { operation: "echo", input: { text: "a" } }, 400, undefined],
    ["an id of other characters", `${UUID}~`, { operation: "echo", input: { text: "a" } }, 400, undefined],
    ["an unknown operation", UUID, { operation: "no", input: {} }, 422, "/operation"],
    ["no operation", UUID, { input: {} }, 422, "/operation"],
    ["a further member", UUID, { operation: "echo", input: { text: "a" }, owner: "bob" }, 422, ""],
    ["a list", UUID, [], 422, ""],
    ["a wrong input", UUID, { operation: "echo", input: { text: 1 } }, 422, "/input/text"],
    ["an operation that needs a file", UUID, { operation: "film" }, 422, "/operation"],
  ])("with %s is refused", async (_what, id, body, status, pointer) => {
    const { ask, count } = await open();
    const answer = await ask(`/jobs/${id}`, put(body));
    expect(answer.status).toBe(status);
    expect(answer.json.errors?.[0]?.pointer).toBe(pointer);
    expect(await count()).toBe(0);
  });
});

describe("Prefer: wait", () => {
  it("is answered with the result once the job completes", async () => {
    const { ask, claim, complete, ledger } = await open();
    const queued = new Promise<void>((resolve) => {
      const end = ledger.listen((event) => {
        if (event.kind !== "queued") return;
        end();
        resolve();
      });
    });
    const answering = ask("/operations/echo", hello({ prefer: "respond-async, wait=30" }));
    await queued;
    const job = await claim();
    await complete(job, '{"pages":12}');
    const answer = await answering;
    expect(answer).toMatchObject({ status: 200, text: '{"pages":12}' });
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-location": `${PUBLIC_URL}/jobs/${job.id}/result`,
      "preference-applied": "wait",
      link: expect.stringContaining(`<${PUBLIC_URL}/jobs/${job.id}>; rel="monitor"`),
    });
  });

  it("is answered with the problem where the job fails", async () => {
    const { ask, submit, claim, fail } = await open();
    await submit({ headers: { "idempotency-key": "k" } });
    await fail(await claim(), { ...problem("attempt-failed"), status: 422 });
    const answer = await ask("/operations/echo", hello({ "idempotency-key": "k", prefer: "wait" }));
    expect(answer.json).toMatchObject({ status: 422, type: `${PUBLIC_URL}/problems/attempt-failed` });
    expect(answer.headers.get("idempotency-replayed")).toBe("true");
  });

  it("is answered 202 where the time is up first", async () => {
    const { ask } = await open({ http: { longestWaitMs: 20 } });
    const answer = await ask("/operations/echo", hello({ prefer: "wait=3600, respond-async" }));
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBe("respond-async, wait");
  });

  it("is not honoured for one who may not read results, nor where too many wait", async () => {
    const { ask, submit, claim, complete } = await open({ http: { waits: 0 } });
    await submit({ headers: { "idempotency-key": "k" } });
    await complete(await claim(), "1");
    for (const as of ["submitter", "ada"] as const) {
      const answer = await ask("/operations/echo", {
        ...hello({ "idempotency-key": "k", prefer: "wait=5" }),
        as,
      });
      expect(answer.status).toBe(202);
      expect(answer.headers.get("preference-applied")).toBeNull();
    }
  });
});

describe("a dry run", () => {
  it("tells what would be, and queues nothing", async () => {
    const { ask, count } = await open({ tier: { active: 10 } });
    const answer = await ask("/operations/echo?dry-run=true", hello());
    expect(answer).toMatchObject({
      status: 200,
      json: {
        repeats: null,
        position: 1,
        estimatedCompletion: expect.stringMatching(/^\d{4}-.*Z$/),
        quota: { active: 0, limit: 10, cost: 1 },
      },
    });
    expect(answer.headers.get("idempotency-replayed")).toBeNull();
    expect(answer.headers.get("ratelimit")).toMatch(/^"default";r=599;/);
    expect(await count()).toBe(0);
  });

  it("of a repeat says so, and where the job is", async () => {
    const { ask, submit, claim, complete, count } = await open({ tier: { active: 1 } });
    const id = await submit({ headers: { "idempotency-key": "k1" } });
    const repeat = () => ask("/operations/echo?dry-run=true", hello({ "idempotency-key": "k1" }));
    const waits = await repeat();
    expect(waits).toMatchObject({
      status: 200,
      json: {
        repeats: `${PUBLIC_URL}/jobs/${id}`,
        position: 1,
        estimatedCompletion: expect.stringMatching(/Z$/),
        quota: { active: 1, limit: 1, cost: 0 },
      },
    });
    expect(waits.headers.get("idempotency-replayed")).toBe("true");
    await complete(await claim(), "1");
    expect((await repeat()).json).toMatchObject({ position: null, estimatedCompletion: null });
    const other = await ask("/operations/echo?dry-run=true", hello({ "idempotency-key": "k1" }, "other"));
    expect(other.json).toMatchObject({ status: 422, type: `${PUBLIC_URL}/problems/idempotency-key-reused` });
    expect(await count()).toBe(1);
  });

  it("counts to the rate", async () => {
    const { ask } = await open({ tier: { rate: { quota: 2, window: "60s" } } });
    const dry = async () => (await ask("/operations/echo?dry-run=true", hello())).status;
    expect([await dry(), await dry(), await dry()]).toEqual([200, 200, 429]);
    expect((await ask("/operations/echo", hello())).status).toBe(429);
  });

  it("is refused as the submit would be", async () => {
    const { ask, submit } = await open({ tier: { active: 1 } });
    expect((await ask("/operations/echo?dry-run=true", { ...hello(), body: "{" })).status).toBe(400);
    await submit();
    expect((await ask("/operations/echo?dry-run=true", hello())).status).toBe(429);
  });
});

describe("admission", () => {
  it("D4: refuses past the quota with 429 and Retry-After, and what was there goes on", async () => {
    const { ask, submit } = await open({ tier: { active: 2 } });
    await submit();
    await submit();
    const answer = await ask("/operations/echo", hello());
    expect(answer.json).toMatchObject({ status: 429, type: `${PUBLIC_URL}/problems/over-quota` });
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
    expect(answer.headers.get("ratelimit")).toMatch(/^"default";r=59\d;t=\d$/);
  });

  it("refuses past the rate with 429, Retry-After and what is left", async () => {
    const { ask, submit } = await open({ tier: { rate: { quota: 1, window: "60s" } } });
    await submit();
    const answer = await ask("/operations/echo", hello());
    expect(answer.json).toMatchObject({ status: 429, type: `${PUBLIC_URL}/problems/rate-limited` });
    expect(answer.headers.get("retry-after")).toMatch(/^(60|[1-5]\d|[1-9])$/);
    expect(answer.headers.get("ratelimit")).toMatch(/^"default";r=0;t=\d+$/);
  });

  it("B2: answers a repeat with its 202 past the rate too, and a storm of them with 429", async () => {
    const { ask, submit, count } = await open({ tier: { rate: { quota: 2, window: "60s" } } });
    const id = await submit({ headers: { "idempotency-key": "k1" } });
    await submit();
    const repeat = () => ask("/operations/echo", hello({ "idempotency-key": "k1" }));
    for (let time = 0; time < 2; time++) {
      const answer = await repeat();
      expect(answer).toMatchObject({ status: 202, json: { id } });
      expect(answer.headers.get("idempotency-replayed")).toBe("true");
    }
    const refused = await repeat();
    expect(refused.json).toMatchObject({ status: 429, type: `${PUBLIC_URL}/problems/rate-limited` });
    expect(refused.headers.get("retry-after")).toMatch(/^(30|[12]?\d)$/);
    expect(await count()).toBe(2);
  });

  it("refuses past the backlog with 503 and Retry-After", async () => {
    const { ask, submit } = await open();
    await submit({ operation: "small" });
    await submit({ operation: "small" });
    const answer = await ask("/operations/small", hello());
    expect(answer.json).toMatchObject({ status: 503, type: `${PUBLIC_URL}/problems/backlog-full` });
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  });
});
