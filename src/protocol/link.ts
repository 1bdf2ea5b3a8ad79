// The Link header (RFC 8288).

/** One link: where it leads, its relation, and further target attributes such as `title` or `type`. */
export interface LinkValue {
  /** A URI reference as it goes on the wire: printable ASCII without spaces, quotes or angle brackets. */
  readonly target: string;
  /** One relation type, or several separated by spaces (§3.3). */
  readonly rel: string;
  readonly [attribute: string]: string | undefined;
}

/**
 * The value of a Link header. Attributes that are undefined are left out.
 *
 * @throws RangeError when a target or an attribute holds what could break out of its place in the header
 */
export function formatLinks(links: readonly LinkValue[]): string {
  let header = "";
  for (const link of links) {
    if (header !== "") header += ", ";
    header += formatLink(link);
  }
  return header;
}

function formatLink(link: LinkValue): string {
  if (link.target === "" || UNSAFE_IN_TARGET.test(link.target)) {
    throw new RangeError(
      "A link's target must be a URI of printable ASCII without spaces, quotes or angle brackets.",
    );
  }
  let text = `<${link.target}>; rel="${quotable(link.rel)}"`;
  for (const name in link) {
    if (name === "target" || name === "rel") continue;
    const value = link[name];
    if (value === undefined) continue;
    if (!TOKEN.test(name)) throw new RangeError("A link attribute's name must be an HTTP token.");
    text += `; ${name}="${quotable(value)}"`;
  }
  return text;
}

const UNSAFE_IN_TARGET = /[^!-~]|[<>"]/;
const UNSAFE_IN_VALUE = /[^ -~]/;
const NEEDS_ESCAPE = /["\\]/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function quotable(value: string): string {
  if (UNSAFE_IN_VALUE.test(value)) throw new RangeError("A link attribute's value must be printable ASCII.");
  return NEEDS_ESCAPE.test(value) ? value.replaceAll(/["\\]/g, "\\$&") : value;
}
