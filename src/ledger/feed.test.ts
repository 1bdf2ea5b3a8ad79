import { afterEach, expect, it } from "vitest";
import { callerOf, type Opened, openLedger } from "../../test/ledger.ts";
import type { Event } from "../core/event.ts";
import { defineOperation } from "../core/operation.ts";
import { createFeed, endsJob, type Feed } from "./feed.ts";

const ECHO = defineOperation({ name: "echo" });
const ADA = callerOf("ada");

let opened: Opened;
let feed: Feed;
let errors: unknown[];
async function open() {
  errors = [];
  opened = await openLedger({ operations: [ECHO] });
  feed = createFeed(opened.store, (error) => errors.push(error));
}
afterEach(async () => {
  feed.close();
  await opened.end();
});

it("a listener hears every event of every job, in order", async () => {
  await open();
  const heard: Event[] = [];
  feed.listen((event) => heard.push(event));
  const one = await opened.accept(ADA, ECHO);
  const other = await opened.accept(callerOf("bob"), ECHO);
  await opened.work(ECHO);
  await opened.jobs.cancel(callerOf("bob"), other.id);
  expect(heard.map(({ id, kind }) => [id, kind])).toEqual([
    [one.id, "queued"],
    [other.id, "queued"],
    [one.id, "started"],
    [one.id, "completed"],
    [other.id, "canceled"],
  ]);
  expect(heard.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
});

it("a follower hears the events of its job only", async () => {
  await open();
  const [one, other] = [await opened.accept(ADA, ECHO), await opened.accept(ADA, ECHO)];
  const heard: string[] = [];
  feed.follow(other.id, ({ id, kind }) => heard.push(`${id} ${kind}`));
  await opened.jobs.cancel(ADA, one.id);
  await opened.jobs.cancel(ADA, other.id);
  expect(heard).toEqual([`${other.id} canceled`]);
});

it("what one listener throws keeps no other from hearing, and is told of", async () => {
  await open();
  const job = await opened.accept(ADA, ECHO);
  const heard: string[] = [];
  const mistake = new Error("A reader's mistake.");
  const fail = () => {
    throw mistake;
  };
  feed.listen(fail);
  feed.listen(({ kind }) => heard.push(`listener ${kind}`));
  feed.follow(job.id, fail);
  feed.follow(job.id, ({ kind }) => heard.push(`follower ${kind}`));
  await opened.jobs.cancel(ADA, job.id);
  await opened.accept(ADA, ECHO);
  expect(heard).toEqual(["listener canceled", "follower canceled", "listener queued"]);
  expect(errors).toEqual([mistake, mistake, mistake]);
});

it("who stopped listening or following hears nothing more, and the others still do", async () => {
  await open();
  const job = await opened.accept(ADA, ECHO);
  const heard: string[] = [];
  const unlisten = feed.listen(() => heard.push("former listener"));
  const unfollow = feed.follow(job.id, () => heard.push("former follower"));
  feed.follow(job.id, () => heard.push("follower"));
  unlisten();
  unfollow();
  unfollow();
  await opened.jobs.cancel(ADA, job.id);
  expect(heard).toEqual(["follower"]);
});

it("who ends his following twice does not end that of who came since", async () => {
  await open();
  const job = await opened.accept(ADA, ECHO);
  const heard: string[] = [];
  const unfollow = feed.follow(job.id, () => heard.push("former"));
  unfollow();
  feed.follow(job.id, () => heard.push("new"));
  unfollow();
  await opened.jobs.cancel(ADA, job.id);
  expect(heard).toEqual(["new"]);
});

it("a follower may stop following while it hears, and the next one hears all the same", async () => {
  await open();
  const job = await opened.accept(ADA, ECHO);
  const heard: string[] = [];
  const unfollow = feed.follow(job.id, () => {
    heard.push("first");
    unfollow();
  });
  feed.follow(job.id, () => heard.push("second"));
  await opened.claim(ECHO);
  await opened.jobs.cancel(ADA, job.id);
  expect(heard).toEqual(["first", "second", "second"]);
});

it("a closed feed tells nobody of anything", async () => {
  await open();
  const heard: Event[] = [];
  feed.listen((event) => heard.push(event));
  feed.close();
  await opened.accept(ADA, ECHO);
  expect(heard).toEqual([]);
});

it("three kinds of events end a job", () => {
  const kinds = [
    "queued",
    "started",
    "progress",
    "retrying",
    "cancel-requested",
    "completed",
    "failed",
    "canceled",
    "expired",
  ] as const;
  expect(kinds.filter(endsJob)).toEqual(["completed", "failed", "canceled"]);
});
