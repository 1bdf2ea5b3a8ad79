// The processes on one store: each can be killed, stopped and started again while the others go on.

import { type AskOptions, type Caller, createCaller, type Method, type Reply } from "./caller.ts";
import type { Dice } from "./dice.ts";
import type { Role } from "./house.ts";
import type { Inside, LoadPoint, Point, Victim } from "./plan.ts";
import type { Ground, Way } from "./stores.ts";
import type { Tap } from "./tap.ts";
import { startTarget, type Target } from "./target.ts";

export interface FleetOptions {
  /** A compiled program. */
  readonly program: string;
  readonly folder: string;
  readonly roles: readonly Role[];
  readonly ground: Ground;
}

export interface Autopsy {
  readonly inside: Inside;
  readonly point: Point | null;
}

/** How long a process is started anew because its store is away. */
const SUPERVISED_MS = 20_000;

/** A process, and the one that takes its place. */
export class Member {
  readonly name: string;
  readonly role: Role;
  readonly #options: FleetOptions;
  #way: Way | null = null;
  #target: Target | null = null;
  #caller: Caller | null = null;
  /** `stopped`: by SIGSTOP. */
  state: "down" | "up" | "stopped" = "down";
  /** It works, and since this moment it has not been seen to (ms since 1970). */
  mustRunFrom: number | null = null;
  #waking: NodeJS.Timeout | undefined;

  constructor(name: string, role: Role, options: FleetOptions) {
    this.name = name;
    this.role = role;
    this.#options = options;
  }

  get target(): Target {
    return this.#target!;
  }

  /** Asks this process; null where nobody can. */
  get caller(): Caller {
    return this.#caller!;
  }

  /** Listens on its way to the store; null where it is down, or its store is behind no socket. */
  get tap(): Tap | null {
    return this.#way?.tap ?? null;
  }

  get answers(): boolean {
    return this.state === "up" && this.role !== "work";
  }

  /** Starts it, and again where it ended because its store was away, as a supervisor does; resolves once it is ready. */
  async start(): Promise<void> {
    for (const from = Date.now(); ; ) {
      await this.launch();
      try {
        this.#caller = createCaller(await this.target.port);
        this.state = "up";
        return;
      } catch (error) {
        await this.end();
        if (!String(error).includes("StoreUnavailable") || Date.now() - from > SUPERVISED_MS) throw error;
      }
    }
  }

  /** Starts it and waits for nothing. */
  async launch(dieIn?: Point): Promise<void> {
    const { program, folder, ground } = this.#options;
    this.#way ??= await ground.way();
    this.#target = startTarget({ program, folder, role: this.role, store: this.#way.url, dieIn });
  }

  /** Kills it (unless it died by itself) and tells what it was in the middle of. */
  async kill(): Promise<Autopsy> {
    const { tap } = this;
    // What it asked its store for is forgotten when its links end.
    const asked = tap?.inside ?? "other";
    this.target.signal("SIGKILL");
    const diary = await this.end();
    const point = diary.point ?? tap?.diedAt ?? null;
    if (point !== null) return { point, inside: insideOf(point) };
    return { point, inside: diary.inside === "other" ? asked : diary.inside };
  }

  /** Waits for its end. */
  async end(): Promise<Autopsy> {
    const autopsy = await this.target.autopsy();
    this.state = "down";
    this.mustRunFrom = null;
    clearTimeout(this.#waking);
    await this.#caller?.close();
    this.#caller = null;
    await this.#way?.close();
    this.#way = null;
    return autopsy;
  }

  /** It is stopped, and goes on after this. */
  sleep(ms: number): void {
    this.#waking = setTimeout(() => this.wake(), ms);
  }

  /** It goes on. */
  wake(): void {
    clearTimeout(this.#waking);
    if (this.state !== "stopped") return;
    this.target.signal("SIGCONT");
    this.state = "up";
  }

  /** Makes it die at this point, when it comes to it for the nth time from now on. */
  dieAt(point: LoadPoint, nth: number): void {
    this.target.dieAt(point, nth);
    this.tap?.dieAt(point, nth, () => this.target.signal("SIGKILL"));
  }
}

/** A claim is neither an accept nor a settle. */
function insideOf(point: Point): Inside {
  const [what] = point.split("-");
  return what === "accept" || what === "settle" ? what : "other";
}

export class Fleet {
  readonly members: readonly Member[];

  constructor(options: FleetOptions) {
    const counts = new Map<Role, number>();
    this.members = options.roles.map((role) => {
      const number = (counts.get(role) ?? 0) + 1;
      counts.set(role, number);
      return new Member(`${role} ${number}`, role, options);
    });
  }

  /** All that are down start at once. */
  async start(): Promise<void> {
    await Promise.all(this.members.filter(({ state }) => state === "down").map((member) => member.start()));
  }

  /** Those that answer callers now. */
  get servers(): readonly Member[] {
    return this.members.filter(({ answers }) => answers);
  }

  /** Those that are up and do this. */
  doing(what: Victim): readonly Member[] {
    return this.members.filter(({ state, role }) => state === "up" && (role === what || role === "both"));
  }

  /** Asks any of those that answer, as a load balancer would; `hear` is told who said what. */
  balanced(dice: Dice, hear: (member: Member, reply: Reply | null) => void = () => {}): Caller {
    return {
      ask: async (owner: string, method: Method, path: string, options?: AskOptions) => {
        const { servers } = this;
        // They are on their way back.
        if (servers.length === 0) return pause(5).then(() => null);
        const member = dice.pick(servers);
        const reply = await member.caller.ask(owner, method, path, options);
        hear(member, reply);
        return reply;
      },
      close: async () => {},
    };
  }

  async kill(): Promise<void> {
    const members = this.members.filter(({ state }) => state !== "down");
    await Promise.all(members.map((member) => member.kill()));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
