// A TCP proxy that does to a connection what networks do: cut it, slow it, leave it half-open, and lose a reply.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** One connection through the proxy. */
export interface Link {
  /** Ends both sides at once, without a farewell (RST). */
  cut(): void;
}

/** What becomes of a message: it goes on, it never arrives and the link ends, or it arrives and its reply never does. */
export type Fate = "pass" | "lose" | "lose reply";

export interface ProxyOptions {
  readonly host?: string;
  readonly port: number;
  /** The length of the first whole message in what a client sent; 0 where it is not whole yet. Default: all of it. */
  readonly measure?: (bytes: Buffer) => number;
  /** Decides about each message of a client before it goes on. */
  readonly hear?: (message: Buffer, link: Link) => Fate;
  /** Decides about what the server sends, before it goes on: false ends the link instead. */
  readonly answer?: (bytes: Buffer, link: Link) => boolean;
  /** A link is gone. */
  readonly gone?: (link: Link) => void;
}

export interface TcpProxy {
  readonly port: number;
  /** Links that are open. */
  readonly links: number;
  /** Cuts all links, and cuts new ones as soon as they are made. */
  cut(): void;
  /** From now on everything takes this much longer, each way. */
  delay(ms: number): void;
  /**
   * Makes all links half-open, and new ones too: bytes are taken and go nowhere, and neither side hears of the other's end.
   * Links that are half-open remain so for good, as they do behind a firewall that forgot them.
   */
  hush(): void;
  /** New links are as they should be. */
  mend(): void;
  close(): Promise<void>;
}

export async function openProxy(options: ProxyOptions): Promise<TcpProxy> {
  const state: State = { cut: false, hush: false, delayMs: 0 };
  const links = new Set<Through>();
  const server = createServer({ noDelay: true }, (client) => {
    if (state.cut) {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const link = new Through(client, options, state, () => {
      links.delete(link);
      options.gone?.(link);
    });
    links.add(link);
    if (state.hush) link.hush();
    else link.join();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get links() {
      return links.size;
    },
    cut() {
      state.cut = true;
      for (const link of [...links]) link.cut();
    },
    delay(ms) {
      state.delayMs = ms;
    },
    hush() {
      state.hush = true;
      for (const link of links) link.hush();
    },
    mend() {
      state.cut = false;
      state.hush = false;
      state.delayMs = 0;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      for (const link of [...links]) link.cut();
      await closed;
    },
  };
}

interface State {
  cut: boolean;
  hush: boolean;
  delayMs: number;
}

class Through implements Link {
  readonly #client: Socket;
  readonly #options: ProxyOptions;
  readonly #state: State;
  readonly #over: () => void;
  readonly #toClient: Lane;
  #toServer: Lane | null = null;
  #server: Socket | null = null;
  #unread: Buffer = Buffer.alloc(0);
  #isHushed = false;
  #losesReply = false;
  #isOver = false;

  constructor(client: Socket, options: ProxyOptions, state: State, over: () => void) {
    this.#client = client;
    this.#options = options;
    this.#state = state;
    this.#over = over;
    this.#toClient = new Lane(client, state);
    client.on("data", (bytes: Buffer) => this.#hear(bytes));
    client.on("error", () => {});
    client.on("close", () => this.#end());
  }

  /** Connects the other side. */
  join(): void {
    const { host = "127.0.0.1", port } = this.#options;
    const server = connect({ host, port, noDelay: true });
    this.#server = server;
    this.#toServer = new Lane(server, this.#state);
    server.on("data", (bytes: Buffer) => this.#answer(bytes));
    server.on("error", () => {});
    server.on("close", () => this.#end());
  }

  hush(): void {
    this.#isHushed = true;
  }

  cut(): void {
    this.#isHushed = false;
    this.#client.resetAndDestroy();
    this.#end();
  }

  #hear(bytes: Buffer): void {
    if (this.#isHushed || this.#isOver) return;
    const { measure, hear } = this.#options;
    if (hear === undefined) {
      this.#toServer?.send(bytes);
      return;
    }
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    const whole: Buffer[] = [];
    while (this.#unread.length > 0) {
      const length = measure?.(this.#unread) ?? this.#unread.length;
      if (length === 0) break;
      const message = this.#unread.subarray(0, length);
      this.#unread = this.#unread.subarray(length);
      const fate = hear(message, this);
      if (this.#isOver) return;
      if (fate === "lose") {
        this.cut();
        return;
      }
      whole.push(message);
      if (fate === "lose reply") this.#losesReply = true;
    }
    // What came together goes on together: a proxy must not make the traffic into another one.
    if (whole.length > 0) this.#toServer?.send(whole.length === 1 ? whole[0]! : Buffer.concat(whole));
  }

  #answer(bytes: Buffer): void {
    if (this.#isHushed || this.#isOver) return;
    if (this.#losesReply || this.#options.answer?.(bytes, this) === false) this.cut();
    else this.#toClient.send(bytes);
  }

  #end(): void {
    if (this.#isOver) return;
    // Half-open, one side's end is not heard of by the other; the proxy's own close ends both.
    if (this.#isHushed && !this.#client.destroyed) return;
    this.#isOver = true;
    // What is on its way still arrives.
    this.#toClient.end();
    this.#toServer?.end();
    this.#server?.on("error", () => {});
    this.#over();
  }
}

/** One direction: in order, and each piece as late as the delay says. */
class Lane {
  readonly #socket: Socket;
  readonly #state: State;
  #lastAt = 0;

  constructor(socket: Socket, state: State) {
    this.#socket = socket;
    this.#state = state;
  }

  send(bytes: Buffer): void {
    this.#then(() => {
      if (!this.#socket.destroyed) this.#socket.write(bytes);
    });
  }

  end(): void {
    this.#then(() => this.#socket.end(() => this.#socket.destroy()));
  }

  #then(work: () => void): void {
    const now = performance.now();
    const at = Math.max(this.#lastAt, now + this.#state.delayMs);
    if (at <= now) work();
    else {
      this.#lastAt = at;
      setTimeout(work, at - now);
    }
  }
}
