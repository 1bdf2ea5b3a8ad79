// The access of a server, as its configuration says, with the keys file watched while it runs.

import { createAccess, type ReadyAccess } from "../http/access.ts";
import type { Config } from "./config.ts";
import { joinKeys } from "./config-access.ts";
import { watchKeysFile } from "./keys-file.ts";

export interface Guard {
  readonly access: ReadyAccess;
  /** Stops watching. */
  close(): void;
}

/**
 * Makes the access of a configuration. When its keys file changes the keys are replaced. A file that can't be read
 * changes nothing, and `onMistake` is told in a sentence; a file that is gone has no keys.
 */
export function createGuard(config: Config, onMistake: (sentence: string) => void): Guard {
  const { tiers } = config;
  const { kind, keys, configKeys, keysFile, jwt } = config.access;
  const access = createAccess({
    tiers,
    ...(kind === "keys" || kind === "keys-and-jwt" ? { keys } : {}),
    ...(jwt === null ? {} : { jwt }),
  });
  if (keysFile === null) return { access, close: () => {} };
  const stay = "The keys stay as they were.";
  const close = watchKeysFile(
    keysFile,
    (fileKeys) => {
      const mistakes: string[] = [];
      const all = joinKeys(configKeys, fileKeys, tiers, mistakes);
      if (mistakes.length > 0) onMistake([...mistakes, stay].join(" "));
      else access.replaceKeys(all);
    },
    (mistake) => onMistake(`${mistake.message} ${stay}`),
  );
  return { access, close };
}
