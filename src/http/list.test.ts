import { afterEach, describe, expect, it } from "vitest";
import { type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";

let door: OpenDoor;
afterEach(() => door?.close());

const open = async () => {
  door = await openTestDoor();
  return door;
};

describe("GET /jobs", () => {
  it("D2: lists the caller's own jobs, newest first, and no one else's", async () => {
    const { ask, submit } = await open();
    const mine = [await submit(), await submit()];
    await submit({ as: "bob" });
    const answer = await ask("/jobs");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toBe("private, no-store");
    expect(answer.json.jobs.map((job: { id: string }) => job.id)).toEqual(mine.reverse());
    expect(answer.json.next).toBeNull();
    expect(answer.headers.get("link")).toBeNull();
    expect(answer.json.jobs[0]).toEqual({
      ...(await ask(`/jobs/${mine[0]}`)).json,
      estimatedCompletion: answer.json.jobs[0].estimatedCompletion,
    });
  });

  it("goes through pages without missing or repeating a job, whatever comes meanwhile", async () => {
    const { ask, submit } = await open();
    const mine: string[] = [];
    for (let n = 0; n < 7; n++) mine.push(await submit({ text: `${n}` }));
    const seen: string[] = [];
    let path: string | null = "/jobs?limit=3";
    while (path !== null) {
      const page = await ask(path);
      seen.push(...page.json.jobs.map((job: { id: string }) => job.id));
      await submit({ text: "later" });
      const { next } = page.json;
      expect(page.headers.get("link")).toBe(next === null ? null : `<${next}>; rel="next"`);
      path = next === null ? null : next.slice(PUBLIC_URL.length);
    }
    expect(seen).toEqual(mine.reverse());
  });

  it("filters by status, operation and time, and keeps the filter from page to page", async () => {
    const { ask, submit, claim, complete, clock } = await open();
    const done = await submit();
    await complete(await claim(), "1");
    const other = await submit({ operation: "keyed", headers: { "idempotency-key": "k" } });
    clock.pass(60_000);
    const between = new Date(clock.moment().now).toISOString();
    clock.pass(60_000);
    const late = await submit();
    const idsOf = async (query: string) =>
      (await ask(`/jobs?${query}`)).json.jobs.map((job: { id: string }) => job.id);
    expect(await idsOf("status=completed")).toEqual([done]);
    expect(await idsOf("status=queued,processing")).toEqual([late, other]);
    expect(await idsOf("status=queued&status=completed")).toEqual([late, other, done]);
    expect(await idsOf("operation=keyed")).toEqual([other]);
    expect(await idsOf(`createdFrom=${between}`)).toEqual([late]);
    expect(await idsOf(`createdTo=${between}`)).toEqual([other, done]);
    const page = await ask("/jobs?status=queued&limit=1");
    expect(await idsOf(page.json.next.split("?")[1])).toEqual([other]);
  });

  it.each([
    "limit=-1",
    "limit=0",
    "limit=201",
    "limit=1.5",
    "limit=",
    "limit=1&limit=2",
    "status=done",
    "status=",
    "operation=unknown",
    "colour=red",
    "owner=bob",
    "createdFrom=yesterday",
    "createdTo=2026-11-23",
    "createdTo=2026-02-31T00:00:00Z",
    "cursor=",
    "cursor=5",
    `cursor=${"A".repeat(48)}`,
    `cursor=${"A".repeat(5000)}`,
  ])("refuses %s with 400 and no echo", async (query) => {
    const { ask, submit } = await open();
    await submit();
    const answer = await ask(`/jobs?${query}`);
    expect(answer.json).toMatchObject({ status: 400, type: `${PUBLIC_URL}/problems/invalid-query` });
    expect(answer.text).not.toContain("yesterday");
    expect(answer.text).not.toContain("AAAA");
  });

  it("refuses a cursor of another owner, of other filters, or with a changed character", async () => {
    const { ask, submit } = await open();
    await submit();
    await submit();
    const { next } = (await ask("/jobs?limit=1")).json;
    const cursor = new URL(next).searchParams.get("cursor")!;
    expect((await ask(`/jobs?limit=1&cursor=${cursor}`)).status).toBe(200);
    expect((await ask(`/jobs?limit=1&cursor=${cursor}`, { as: "bob" })).status).toBe(400);
    expect((await ask(`/jobs?status=queued&cursor=${cursor}`)).status).toBe(400);
    const changed = `${cursor[0] === "A" ? "B" : "A"}${cursor.slice(1)}`;
    expect((await ask(`/jobs?limit=1&cursor=${changed}`)).status).toBe(400);
  });
});
