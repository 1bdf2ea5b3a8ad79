// `pathBelow`: from a folder that the operator configured and a path that a caller sent to a file that may be opened.

import { realpath } from "node:fs/promises";
import { isAbsolute, join, relative as pathFrom, sep } from "node:path";
import { RELATIVE_PATH } from "../core/relative-path.ts";

/** Why a path was refused. */
export type PathRefusedReason = "malformed" | "missing" | "outside" | "no-folder";

/** Thrown by `pathBelow`. The message names no path, so it may be shown to a caller. */
export class PathRefused extends Error {
  override readonly name = "PathRefused";
  /**
   * `malformed`: not a relative path as `RELATIVE_PATH` has it. `missing`: nothing readable there. `outside`: a symbolic
   * link leads out of the folder. `no-folder`: the configured folder itself can't be read.
   */
  readonly reason: PathRefusedReason;
  constructor(reason: PathRefusedReason, cause?: unknown) {
    super(
      {
        malformed: 'The path must be relative, like "clips/a.mp4", without "..".',
        missing: "There is nothing at this path.",
        // The same sentence: whether a file outside of the folder exists is not the caller's to learn.
        outside: "There is nothing at this path.",
        "no-folder": "The configured folder can't be read.",
      }[reason],
      cause === undefined ? {} : { cause },
    );
    this.reason = reason;
  }
}

/**
 * The absolute path of what lies at `relative` below `folder`, with every symbolic link resolved and none of them leading
 * out of the folder. Rejects with `PathRefused` where it can't be had. The answer holds for the moment: whoever may write
 * in the folder can still put a link in its place before it is opened.
 */
export async function pathBelow(folder: string, relative: string): Promise<string> {
  if (!RELATIVE_PATH.test(relative)) throw new PathRefused("malformed");
  const root = await realpath(folder).catch((error) => {
    throw new PathRefused("no-folder", error);
  });
  const path = await realpath(join(root, relative)).catch((error) => {
    throw new PathRefused("missing", error);
  });
  const inside = pathFrom(root, path);
  // The folder itself is not below the folder.
  if (inside === "" || inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
    throw new PathRefused("outside");
  }
  return path;
}
