// The names of files: as Content-Disposition carries them (RFC 6266, RFC 8187), and made harmless on their way in.

/** `attachment` with the file's name: plain for old clients, and in UTF-8 where it is not plain ASCII. */
export function formatAttachment(name: string): string {
  if (PLAIN.test(name)) return `attachment; filename="${name}"`;
  // Percent signs are out as well: some browsers decode them in the plain form (RFC 6266 appendix D).
  const fallback = name.replaceAll(/[^ -~]/gu, "_").replaceAll(/["\\%]/g, "_");
  return `attachment; filename="${fallback}"; filename*=UTF-8''${encodeExtended(name)}`;
}

/** The file name that a Content-Disposition gives; null where it gives none. The extended form counts first (RFC 6266 §4.3). */
export function parseFilename(header: string | undefined): string | null {
  if (header === undefined) return null;
  const extended = /;\s*filename\*\s*=\s*utf-8'[^']*'([!#$&+\-.^_`|~\w%]+)/i.exec(header)?.[1];
  if (extended !== undefined) {
    try {
      return decodeURIComponent(extended);
    } catch {
      // Not UTF-8 after all: the plain form may still do.
    }
  }
  const plain = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(header);
  if (plain === null) return null;
  return plain[1] === undefined ? (plain[2] as string) : plain[1].replaceAll(/\\(.)/g, "$1");
}

/**
 * A file's name as it may be kept and shown: the last segment of whatever path it came with, without control and
 * direction characters, at most 200 characters; `fallback` where nothing is left.
 */
export function sanitizeFilename(name: string, fallback: string): string {
  const base = name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
  const clean = [...wellFormed(base).replaceAll(UNSEEN, "").trim()].slice(0, MOST_CHARACTERS).join("");
  return clean === "" || clean === "." || clean === ".." ? fallback : clean;
}

const MOST_CHARACTERS = 200;
// Format characters (Cf) can turn "gpj.exe" into "exe.jpg" before a reader's eyes.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const PLAIN = /^[ !#$&-[\]-~]*$/;

/** RFC 8187 §3.2.1: everything but attr-char is percent-encoded. */
function encodeExtended(name: string): string {
  return encodeURIComponent(wellFormed(name)).replaceAll(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Text without lone surrogates, which no URL and no UTF-8 can carry. */
export function wellFormed(text: string): string {
  return text.replaceAll(/\p{Surrogate}/gu, "\u{fffd}");
}
