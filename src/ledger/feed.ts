// The one feed as the house reads it: who waits for a job hears of its end, who works hears of new work.

import type { Event, EventKind } from "../core/event.ts";
import type { Store } from "../store/store.ts";

type Hear = (event: Event) => void;

export interface Feed {
  /** Every event, in order. Returns a function that ends it. */
  listen(hear: Hear): () => void;
  /** The events of one job. */
  follow(id: string, hear: Hear): () => void;
  close(): void;
}

/** Reads the store's feed once and hands it on. */
export function createFeed(store: Store, onError: (error: unknown) => void): Feed {
  const listeners = new Set<Hear>();
  const followers = new Map<string, Set<Hear>>();
  const stop = store.listen((events) => {
    for (const event of events) {
      for (const hear of listeners) tell(hear, event, onError);
      const following = followers.size === 0 ? undefined : followers.get(event.id);
      if (following !== undefined) for (const hear of [...following]) tell(hear, event, onError);
    }
  });
  return {
    listen(hear) {
      listeners.add(hear);
      return () => listeners.delete(hear);
    },
    follow(id, hear) {
      let following = followers.get(id);
      if (following === undefined) {
        following = new Set();
        followers.set(id, following);
      }
      following.add(hear);
      return () => {
        following.delete(hear);
        if (following.size === 0 && followers.get(id) === following) followers.delete(id);
      };
    },
    close: stop,
  };
}

// One reader's mistake must not keep the event from the others.
function tell(hear: Hear, event: Event, onError: (error: unknown) => void): void {
  try {
    hear(event);
  } catch (error) {
    onError(error);
  }
}

/** Whether an event ends a job. */
export function endsJob(kind: EventKind): boolean {
  return kind === "completed" || kind === "failed" || kind === "canceled";
}
