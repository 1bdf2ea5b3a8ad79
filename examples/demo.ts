// `npm run demo`: a server, real work handed to it over HTTP, and every exchange as it goes over the wire.

import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { openCollection } from "./demo/collection.ts";
import { type Answer, type Ask, requestCount, send, show, sizeOf } from "./demo/exchange.ts";
import { follow, type Status, type Ticket } from "./demo/follow.ts";
import { type Material, makeMaterial } from "./demo/material.ts";
import { openScreen } from "./demo/screen.ts";
import { type DemoServer, startServer } from "./demo/server.ts";

const began = performance.now();
const screen = openScreen(process.stdout);
const { bold, dim } = screen;
const folder = await mkdtemp(join(tmpdir(), "coatcheck-demo-"));
let starting: Promise<DemoServer> | undefined;

process.once("SIGINT", () => clean().finally(() => process.exit(130)));
process.once("SIGHUP", () => clean().finally(() => process.exit(129)));
process.once("SIGTERM", () => clean().finally(() => process.exit(143)));

try {
  process.exitCode = await run();
} finally {
  await clean();
}

/** Leaves the terminal as it was, and nothing behind but the results. */
async function clean(): Promise<void> {
  screen.close();
  await starting?.then((server) => server.stop()).catch(() => {});
  await rm(folder, { recursive: true, force: true });
}

async function run(): Promise<number> {
  screen.print(`\n${bold("Coatcheck")}: hand over slow work, get a ticket, come back when it is ready.\n`);
  screen.print(dim("Starting a server, and making a clip and some postcards to give it…"));
  starting = startServer(folder);
  const [{ url }, material] = await Promise.all([starting, makeMaterial(folder)]);
  screen.print(dim(`It listens on ${url}, with a store that is removed at the end.\n`));

  const jobs = await submitAll(`${url}/operations`, material);

  screen.print(`${bold("Following all four")}${dim(", each asked about when its Retry-After says so")}\n`);
  const collection = await openCollection(screen, resolve("demo-output"));
  await Promise.all(
    jobs.map(async (job) => {
      const onPoll = job === jobs[0] ? showPoll : undefined;
      await collection.collect(job.label, await follow(screen, job, onPoll));
    }),
  );
  screen.close();

  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  collection.summarize();
  screen.print(
    dim(
      `${jobs.length} jobs, ${requestCount()} requests, ${seconds} s in all. A server of your own: npm start\n`,
    ),
  );
  return collection.failed ? 1 : 0;
}

/** Submits the jobs one after the other, so that each exchange can be read. */
async function submitAll(operations: string, { clip, rome, oslo }: Material): Promise<Ticket[]> {
  const video = await submit("transcode-video", "A clip, to be made smaller", {
    method: "POST",
    url: `${operations}/transcode-video?height=360`,
    headers: { "content-type": "video/mp4", "content-disposition": 'attachment; filename="clip.mp4"' },
    body: { path: clip },
  });
  const ask: Ask = {
    method: "POST",
    url: `${operations}/render-report`,
    headers: { "content-type": "application/json", "idempotency-key": `late-${Date.now().toString(36)}` },
    body: '{"title":"Late","minDelay":15,"groupBy":"origin","rows":"flights"}',
  };
  const report = await submit("render-report", "A report on three million real flights", ask);
  screen.print(bold("The same again, as if the answer had been lost: the same job, not a second one"));
  const again = await send(ask);
  await again.response.arrayBuffer();
  show(screen, ask, again);
  const album = (title: string, path: string): Ask => ({
    method: "POST",
    url: `${operations}/photo-album?title=${title}`,
    headers: { "content-type": "application/zip" },
    body: { path },
  });
  return [
    video,
    report,
    await submit("album of Rome", "A zip of postcards, to become an album", album("Rome", rome)),
    await submit("album of Oslo", "Another, which has to wait its turn", album("Oslo", oslo)),
  ];
}

async function submit(label: string, headline: string, ask: Ask): Promise<Ticket> {
  screen.print(bold(headline));
  const answer = await send(ask);
  const sent = typeof ask.body === "object" ? sizeOf((await stat(ask.body.path)).size) : undefined;
  show(screen, ask, answer, { sent });
  const monitor = answer.headers.get("location");
  if (answer.status !== 202 || monitor === null) {
    throw new Error(`${label} was not accepted: ${await answer.response.text()}`);
  }
  const status = (await answer.response.json()) as Status;
  return { label, monitor, status, retryAfterSeconds: Number(answer.headers.get("retry-after")) };
}

/** Shows one poll for all of them. */
function showPoll(ask: Ask, answer: Answer, seen: Status): void {
  const { status, progress, message, estimatedCompletion } = seen;
  const excerpt = JSON.stringify({ status, progress, message, estimatedCompletion });
  screen.print(bold("A poll while it is at work"));
  show(screen, ask, answer, { received: `${excerpt.slice(0, -1)}, …}` });
}
