// Which writes of a batch go together, and which of them are not done yet.

import type { EngineWrite } from "../remote/engine.ts";
import type { Written } from "../store.ts";

/** A claim that met only jobs which can't begin: there are others behind them. */
export function isPassedOver(written: Written | undefined, now: number): boolean {
  if (written === undefined || !("did" in written) || written.did !== "claim") return false;
  return written.jobs.length === 0 && !written.drain && written.nextAt !== null && written.nextAt <= now;
}

/** Writes of one kind share a transaction; facts have one each. */
export function kindOf(write: EngineWrite): "submit" | "work" | "fact" {
  switch (write.do) {
    case "submit":
      return "submit";
    case "claim":
    case "heartbeat":
    case "settle":
    case "cancel":
    case "sweep":
      return "work";
    default:
      return "fact";
  }
}
