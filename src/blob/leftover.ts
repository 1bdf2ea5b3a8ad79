// What a process that was killed left behind in a folder that several may use: told by the maker's mark in its name.

import { createHash, randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

// A maker of another machine (or an earlier container) can't be asked whether it lives. Who writes touches what it
// writes, so after this long it is dead.
const SILENT_MS = 24 * 3600 * 1000;

const HOST = createHash("sha256").update(`${hostname()} ${processes()}`).digest("hex").slice(0, 8);

/** A name that nothing else has, such as `coatcheck-1a2b3c4d-4711-9f8e7d6c5b4a3921`; it tells who made it. */
export function leftoverName(): string {
  return `coatcheck-${HOST}-${process.pid}-${randomBytes(8).toString("hex")}`;
}

/** Removes what has a name of `leftoverName` in the folder and whose maker is dead. Never rejects. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const [, host, pid] = /^coatcheck-([0-9a-f]{8})-(\d+)-[0-9a-f]{16}$/.exec(name) ?? [];
    if (host === undefined || pid === undefined) continue;
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (isDead(host, Number(pid), mtimeMs)) await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}

function isDead(host: string, pid: number, mtimeMs: number): boolean {
  if (host !== HOST) return mtimeMs < Date.now() - SILENT_MS;
  // In a container every start has the same pid: then only what is older than this process is a leftover.
  if (pid === process.pid) return mtimeMs < performance.timeOrigin - 1000;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

// Containers of one name that share a folder do not see each other's processes: a pid of the one is nobody's in the other.
function processes(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    // No Linux, so no such containers.
    return "";
  }
}
