// Connections to the server: a few for statements, one that listens. What goes wrong becomes one of two errors: the store is
// unavailable for now, or unusable for good.

import { StoreUnavailable, StoreUnusable } from "../store.ts";

/** What of the `pg` package is used; it is imported when a store is opened. */
export interface Result {
  readonly rows: readonly unknown[];
  readonly rowCount: number | null;
}

interface Client {
  connect(): Promise<unknown>;
  query(text: string): Promise<Result | readonly Result[]>;
  end(): Promise<void>;
  on(event: "error" | "end", hear: (error: Error) => void): unknown;
  on(event: "notification", hear: (notice: { readonly payload?: string }) => void): unknown;
  readonly connection?: { readonly stream: { destroy(): void } };
}

/** The first row of a result that has one. */
export function first<Row>(result: Result | undefined): Row {
  const row = result?.rows[0];
  if (row === undefined) throw new Error("A statement gave no row.");
  return row as Row;
}

/** `silentMs`: how long the server may take. */
export type Run = (text: string, silentMs?: number) => Promise<readonly Result[]>;

/** The server answered nothing for so long: the connection is taken for dead. */
const SILENT_MS = 10_000;

const CONNECT_MS = 5_000;

/** How long a connection may take to end before it is cut. */
const END_MS = 1_000;

/** After a connection could not be made, more tries are refused at once for this long. */
const REST_MS = 200;

/** A statement may have had its effect, but its answer was lost. */
export class AnswerLost extends StoreUnavailable {}

export interface ConnectionOptions {
  readonly url: string;
  /** Most connections for statements. */
  readonly most: number;
}

export class Connection {
  readonly name: string;
  readonly #open: () => Client;
  readonly #most: number;
  readonly #idle: Client[] = [];
  readonly #all = new Set<Client>();
  readonly #waiting: ((client: Client | null) => void)[] = [];
  #restsUntil = 0;
  /** A connection could not be made: one tries again, the others are refused meanwhile. */
  #isDown = false;
  #isTrying = false;
  /** The user and the password were right once: what is wrong with them now may be mended. */
  #isProven = false;
  #isClosed = false;

  private constructor(name: string, most: number, open: () => Client) {
    this.name = name;
    this.#most = most;
    this.#open = open;
  }

  /** @throws StoreUnusable when the `pg` package is missing or the URL is none. */
  static async load({ url, most }: ConnectionOptions): Promise<Connection> {
    const name = nameOf(url);
    const pg = await import("pg").catch(() => {
      throw new StoreUnusable("A store in PostgreSQL needs the package pg: run `npm install pg`.");
    });
    const { Client, types } = pg.default;
    // Numbers as numbers: all of ours are below 2^53.
    const parsers = {
      getTypeParser: (oid: number, format?: "text" | "binary") =>
        oid === 20 ? Number : (types.getTypeParser(oid, format) as (text: string) => unknown),
    };
    const open = () =>
      new Client({
        connectionString: url,
        application_name: "coatcheck",
        connectionTimeoutMillis: CONNECT_MS,
        keepAlive: true,
        keepAliveInitialDelayMillis: 10_000,
        types: parsers as never,
      }) as unknown as Client;
    return new Connection(name, most, open);
  }

  /** Runs statements, each on its own, in one round trip. @throws AnswerLost | StoreUnavailable */
  ask(text: string): Promise<readonly Result[]> {
    return this.alone(async (run) => {
      try {
        return await run(text);
      } catch (error) {
        // The text may have begun a transaction, which its error did not end.
        if (!(error instanceof AnswerLost)) await run("ROLLBACK").catch(() => {});
        throw error;
      }
    });
  }

  /** Holds one connection for what belongs together. */
  async alone<T>(work: (run: Run) => Promise<T>): Promise<T> {
    const client = await this.#take();
    let isSound = true;
    try {
      return await work(async (text, silentMs) => {
        try {
          const results = await withTimeout(client.query(text), () => destroy(client), silentMs);
          return Array.isArray(results) ? (results as readonly Result[]) : [results as Result];
        } catch (error) {
          if (isConnectionLost(error)) isSound = false;
          throw this.#translate(error);
        }
      });
    } catch (error) {
      if (error instanceof AnswerLost) isSound = false;
      throw error;
    } finally {
      this.#give(client, isSound);
    }
  }

  /** A connection of its own that hears what is notified. Rejects where it can't be made. */
  async listen(
    channel: string,
    hear: (payload: string) => void,
    lost: () => void,
  ): Promise<() => Promise<void>> {
    const client = this.#open();
    // Until it listens there is nothing to lose: that it could not be made is thrown, and must not be told twice.
    let isOver = true;
    let check: NodeJS.Timeout | undefined;
    const end = () => {
      if (isOver) return;
      isOver = true;
      clearInterval(check);
      destroy(client);
      lost();
    };
    client.on("error", end);
    client.on("end", end);
    client.on("notification", ({ payload }) => hear(payload ?? ""));
    try {
      await withTimeout(client.connect(), () => destroy(client));
      await withTimeout(client.query(`LISTEN "${channel}"`), () => destroy(client));
      isOver = false;
    } catch (error) {
      destroy(client);
      throw this.#translate(error);
    }
    // Who only listens hears nothing from a server that is gone.
    check = setInterval(() => {
      withTimeout(client.query("SELECT 1"), () => destroy(client)).catch(end);
    }, SILENT_MS / 2);
    check.unref();
    return async () => {
      isOver = true;
      clearInterval(check);
      await endSoon(client);
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const wake of this.#waiting.splice(0)) wake(null);
    await Promise.all([...this.#all].map(endSoon));
  }

  async #take(): Promise<Client> {
    if (this.#isClosed) throw new StoreUnavailable("The store is closed.");
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#all.size >= this.#most) {
      const given = await new Promise<Client | null>((resolve) => this.#waiting.push(resolve));
      return given ?? (await this.#take());
    }
    if (this.#isDown && (this.#isTrying || Date.now() < this.#restsUntil))
      throw new StoreUnavailable(`${this.name} can't be reached.`);
    this.#isTrying = this.#isDown;
    const client = this.#open();
    this.#all.add(client);
    client.on("error", () => this.#drop(client));
    client.on("end", () => this.#drop(client));
    try {
      await withTimeout(client.connect(), () => destroy(client));
      this.#isProven = true;
      this.#isDown = false;
      this.#isTrying = false;
      return client;
    } catch (error) {
      this.#drop(client);
      destroy(client);
      this.#isDown = true;
      this.#isTrying = false;
      this.#restsUntil = Date.now() + REST_MS;
      const meaning = this.#translate(error);
      // Whoever waits for a connection tries for itself.
      for (const wake of this.#waiting.splice(0)) wake(null);
      throw meaning instanceof AnswerLost ? new StoreUnavailable(meaning.message) : meaning;
    }
  }

  #give(client: Client, isSound: boolean): void {
    if (!isSound || !this.#all.has(client) || this.#isClosed) {
      this.#drop(client);
      destroy(client);
      this.#waiting.shift()?.(null);
      return;
    }
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(client);
    else next(client);
  }

  #translate(error: unknown): Error {
    const meaning = translate(error, this.name);
    if (this.#isProven && /^(?:28|3D000)/.test(codeOf(error))) return new StoreUnavailable(meaning.message);
    return meaning;
  }

  #drop(client: Client): void {
    this.#all.delete(client);
    const at = this.#idle.indexOf(client);
    if (at !== -1) this.#idle.splice(at, 1);
  }
}

function destroy(client: Client): void {
  client.on("error", () => {});
  client.connection?.stream.destroy();
  client.end().catch(() => {});
}

// Who is gone without a word does not answer a farewell either.
async function endSoon(client: Client): Promise<void> {
  await withTimeout(client.end(), () => destroy(client), END_MS).catch(() => {});
}

async function withTimeout<T>(work: Promise<T>, giveUp: () => void, silentMs = SILENT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      giveUp();
      reject(Object.assign(new Error("The server does not answer."), { code: "ETIMEDOUT" }));
    }, silentMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => {});
  }
}

/** The server's name for people: without user, password and parameters. */
function nameOf(url: string): string {
  if (!URL.canParse(url))
    throw new StoreUnusable(
      "The URL of a store in PostgreSQL must be like postgres://user:password@host/database.",
    );
  const { hostname, port, pathname } = new URL(url);
  return `postgres://${hostname}${port === "" ? "" : `:${port}`}${pathname}`;
}

function codeOf(error: unknown): string {
  return String((error as { readonly code?: unknown } | null)?.code ?? "");
}

// Without an SQLSTATE the server said nothing: the connection broke under the statement. 25P03: it was idle too long.
function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error);
  return !/^[0-9A-Z]{5}$/.test(code) || /^(?:08|25P03|57P0[1235])/.test(code);
}

/** Serialisation failures and deadlocks: the same batch again may go through. */
export function isWorthARetry(error: unknown): boolean {
  return error instanceof Conflict;
}

class Conflict extends StoreUnavailable {}

function translate(error: unknown, name: string): Error {
  if (error instanceof StoreUnavailable || error instanceof StoreUnusable) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (code === "40001" || code === "40P01") return new Conflict(`${name}: ${message}`);
  if (code === "3D000") return new StoreUnusable(`${name}: there is no such database: create it first.`);
  if (code.startsWith("28"))
    return new StoreUnusable(`${name}: the user or the password is wrong (${message}).`);
  if (code === "42501") return new StoreUnusable(`${name}: the user lacks a permission (${message}).`);
  if (/^(?:42P01|42703|3F000)$/.test(code))
    return new StoreUnusable(`${name}: the store's tables are not what they were (${message}).`);
  // 25006: read-only; 53: out of disk, memory or connections; 55P03, 57014: waited too long; 58030: I/O.
  if (/^(?:25006|53|55P03|57014|58)/.test(code)) return new StoreUnavailable(`${name}: ${message}`);
  if (isConnectionLost(error)) return new AnswerLost(`${name} can't be reached (${code || message}).`);
  return error instanceof Error ? error : new Error(message);
}
