// Stands for what an app does with what it hears: here it keeps the end of each job, as a shop would mark an order.

import type { WebhookEvent } from "coatcheck/webhooks";

/** How each job ended, by its id. */
export const ended = new Map<string, string>();

/** Handles an event. Throws where it can't: the event will be delivered again. */
export async function handle(event: WebhookEvent): Promise<void> {
  switch (event.type) {
    case "job.completed":
    case "job.failed":
    case "job.canceled":
      if (event.data.operation === "out-of-order") throw new Error("The shop is closed.");
      ended.set(event.data.id, event.data.status);
      console.log(`${event.data.id} is ${event.data.status}`);
      break;
    // Everything else, and what later versions may say, is none of ours.
  }
}

/** The secrets of the endpoint, as `WEBHOOK_SECRETS="whsec_… whsec_…"`: the new one and the old one while they are rotated. */
export function secretsOf(environment: NodeJS.ProcessEnv): string[] {
  return (environment.WEBHOOK_SECRETS ?? "").split(" ").filter((secret) => secret !== "");
}
