// The folder of media on the server's own disk that callers of the examples may name files in.

import { lstat } from "node:fs/promises";
import { resolve } from "node:path";
import { Failure, PathRefused, pathBelow } from "coatcheck";

/** The absolute path of a file below `COATCHECK_MEDIA` (default `./media`). Throws a `Failure` where there is none. */
export function mediaFile(relative: string): Promise<string> {
  return locate(relative, "file");
}

/** The absolute path of a folder below `COATCHECK_MEDIA` (default `./media`). Throws a `Failure` where there is none. */
export function mediaFolder(relative: string): Promise<string> {
  return locate(relative, "folder");
}

async function locate(relative: string, kind: "file" | "folder"): Promise<string> {
  const missing = (cause?: unknown) =>
    new Failure(`The media folder has no ${kind} of this name.`, {
      status: 422,
      type: "no-such-media",
      cause,
    });
  const path = await pathBelow(resolve(process.env.COATCHECK_MEDIA ?? "media"), relative).catch((error) => {
    throw error instanceof PathRefused ? missing(error) : error;
  });
  // A pipe or a device would keep its reader waiting for ever.
  const found = await lstat(path);
  if (kind === "file" ? !found.isFile() : !found.isDirectory()) throw missing();
  return path;
}
