// Lines of JSON that are on the disk once `append` has resolved: what was seen or done, whoever dies next.

import { type FileHandle, open, readFile } from "node:fs/promises";

export interface Recorder {
  /** Resolves when the line is durable; lines that come together share an fsync. */
  append(line: object): Promise<void>;
  close(): Promise<void>;
}

/** Opens a file to append to; several processes may do so at once. */
export async function openRecorder(file: string): Promise<Recorder> {
  const handle = await open(file, "a");
  let waiting: {
    readonly text: string;
    readonly done: () => void;
    readonly failed: (error: unknown) => void;
  }[] = [];
  let flushing: Promise<void> | null = null;
  const flush = async () => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        await write(handle, batch.map(({ text }) => text).join(""));
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
    }
    flushing = null;
  };
  return {
    append: (line) =>
      new Promise((done, failed) => {
        waiting.push({ text: `${JSON.stringify(line)}\n`, done, failed });
        flushing ??= Promise.resolve().then(flush);
      }),
    async close() {
      await flushing;
      await handle.close();
    },
  };
}

/** Every whole line. One that a kill cut off tells of nothing that was waited for. */
export async function readRecord<Line>(file: string): Promise<Line[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return linesOf<Line>(text);
}

/** Reads a record as it grows: each call gives the whole lines that came since the last. */
export function tailRecord<Line>(file: string): () => Promise<Line[]> {
  let at = 0;
  let reading: Promise<unknown> = Promise.resolve();
  const read = async () => {
    const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (handle === null) return [];
    try {
      const { size } = await handle.stat();
      const bytes = Buffer.alloc(size - at);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, at);
      const end = bytes.subarray(0, bytesRead).lastIndexOf(0x0a) + 1;
      at += end;
      return linesOf<Line>(bytes.toString("utf8", 0, end));
    } finally {
      await handle.close();
    }
  };
  return () => {
    const lines = reading.then(read);
    reading = lines.catch(() => {});
    return lines;
  };
}

function linesOf<Line>(text: string): Line[] {
  return text.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line) as Line];
    } catch {
      return [];
    }
  });
}

async function write(handle: FileHandle, text: string): Promise<void> {
  // One write, so that the lines of other processes fall between ours and not into them.
  const bytes = Buffer.from(text);
  const { bytesWritten } = await handle.write(bytes);
  if (bytesWritten !== bytes.length) throw new Error("A record was written in part.");
  await handle.datasync();
}
