// Writes that were given at once, explained: there must be some order of them in which each answer is right and each
// event has its cause, and which leads to what is seen afterwards. What has no answer was kept or was not.

import { Broken, Knowledge, type Window } from "./known.ts";
import { apply, type Issued } from "./promises.ts";

/** What is known after all of them; `look` holds it against what was seen. @throws Broken where no order explains it. */
export function explain(
  before: Knowledge,
  issued: readonly Issued[],
  when: Window,
  look: (known: Knowledge) => void,
): Knowledge {
  let nearest = { explained: -1, sentence: "" };
  for (const order of ordersOf(issued)) {
    let explained = 0;
    try {
      const known = new Knowledge(before);
      for (const one of order) {
        apply(known, one, when);
        explained++;
      }
      look(known);
      return known;
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      if (explained > nearest.explained) nearest = { explained, sentence: error.message };
    }
  }
  // What was wrong in the order that explains most of them is what is told.
  const preface = issued.length < 2 ? "" : `No order of ${issued.length} writes explains it. `;
  throw new Broken(preface + nearest.sentence);
}

// Every order of those that were answered, with and without each that was not; the given order is the first.
function* ordersOf(issued: readonly Issued[]): Iterable<readonly Issued[]> {
  if (issued.length === 0) yield [];
  for (const [index, one] of issued.entries()) {
    const others = issued.filter((_, other) => other !== index);
    for (const order of ordersOf(others)) {
      yield [one, ...order];
      if (one.written === null) yield order;
    }
  }
}
