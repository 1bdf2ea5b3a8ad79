// Keeps the API keys of a running server equal to its keys file.

import type { ReadyAccess } from "../http/access.ts";
import { readTiers } from "../http/tiers.ts";
import type { Config } from "./config.ts";
import { joinKeys } from "./config-access.ts";
import { watchKeysFile } from "./keys-file.ts";

/**
 * Replaces the keys of an access whenever the keys file of the configuration has changed; returns a function that ends
 * it. A file that can't be read changes nothing: `onMistake` is told in a sentence. A file that is gone has no keys.
 */
export function watchKeys(
  config: Config,
  access: ReadyAccess,
  onMistake: (sentence: string) => void,
): () => void {
  const { keysFile, configKeys } = config.access;
  if (keysFile === null) return () => {};
  const tiers = readTiers(config.tiers, config.limits);
  const stay = "The keys stay as they were.";
  return watchKeysFile(
    keysFile,
    (fileKeys) => {
      const mistakes: string[] = [];
      const keys = joinKeys(configKeys, fileKeys, tiers, mistakes);
      if (mistakes.length > 0) onMistake([...mistakes, stay].join(" "));
      else access.replaceKeys(keys);
    },
    (mistake) => onMistake(`${mistake.message} ${stay}`),
  );
}
