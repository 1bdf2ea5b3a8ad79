// What the demo got: goes where the 303 of a completed job leads, and saves what is there.

import { createWriteStream } from "node:fs";
import { mkdir, rm, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { type Answer, type Ask, send, show, showDownload, sizeOf } from "./exchange.ts";
import type { Followed } from "./follow.ts";
import type { Screen } from "./screen.ts";

export interface Collection {
  /** Shows how a job ended, and saves its results. */
  collect(label: string, followed: Followed): Promise<void>;
  /** Says where everything is. */
  summarize(): void;
  /** Whether a job had no result. */
  readonly failed: boolean;
}

/** Opens a folder for results; what an earlier run left there is removed. */
export async function openCollection(screen: Screen, folder: string): Promise<Collection> {
  const { bold, dim, green, red } = screen;
  const saved: { readonly path: string; readonly bytes: number }[] = [];
  let failed = false;
  // Jobs end side by side, but are shown one after the other.
  let showing: Promise<void> = Promise.resolve();
  await rm(folder, { recursive: true, force: true });

  const fetchFile = async (label: string, name: string, ask: Ask) => {
    const answer = await send(ask);
    showDownload(screen, ask, answer);
    await save(label, name, answer);
  };
  const save = async (label: string, name: string, { response }: Answer) => {
    const place = join(folder, label.replaceAll(" ", "-"));
    await mkdir(place, { recursive: true });
    const path = join(place, name);
    await pipeline(Readable.fromWeb(response.body as ReadableStream), createWriteStream(path));
    saved.push({ path, bytes: (await stat(path)).size });
  };

  const collect = async (label: string, { ask, answer, status, polls, tookMs }: Followed) => {
    const took = dim(
      `after ${(tookMs / 1000).toFixed(1)} s, asked ${polls === 1 ? "once" : `${polls} times`}`,
    );
    const location = answer.headers.get("location");
    if (answer.status !== 303 || location === null) {
      failed = true;
      screen.print(`${red("✗")} ${bold(label)} ${status.status} ${took}`);
      show(screen, ask, answer, { received: JSON.stringify(status.error) });
      return;
    }
    const redirected: Ask = { method: "GET", url: location };
    const result = await send(redirected);
    screen.print(`${green("✓")} ${bold(label)} is ready ${took}`);
    show(screen, ask, answer);
    if (result.headers.get("content-type") !== "application/json") {
      show(screen, redirected, result);
      return save(label, status.files[0]?.name ?? "result", result);
    }
    show(screen, redirected, result, { received: await result.response.text() });
    // The files that the job saved beside its result are listed in the status document.
    for (const { name, url } of status.files) await fetchFile(label, name, { method: "GET", url });
  };

  return {
    get failed() {
      return failed;
    },
    collect(label, followed) {
      showing = showing.then(() => collect(label, followed));
      return showing;
    },
    summarize() {
      screen.print(bold(`Saved in ./${relative(process.cwd(), folder)}`));
      for (const { path, bytes } of saved.toSorted((a, b) => a.path.localeCompare(b.path))) {
        screen.print(`${sizeOf(bytes).padStart(10)}  ${relative(folder, path)}`);
      }
      screen.print();
    },
  };
}
