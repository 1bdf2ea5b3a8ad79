// Single requests over one connection that is kept: to make jobs to read, and to time one caller.
import { randomUUID } from "node:crypto";
import { Agent, type IncomingHttpHeaders, request } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One caller with one connection. */
export class Caller {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(url: string) {
    this.#url = url;
  }

  get(path: string): Promise<Answer> {
    return this.#send("GET", path, {}, "");
  }

  /** Submits an empty job under a random key. */
  submit(headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    const body = JSON.stringify({ text: "x".repeat(189) });
    const all = {
      "Content-Type": "application/json",
      "Content-Length": `${body.length}`,
      "Idempotency-Key": randomUUID(),
      ...headers,
    };
    return this.#send("POST", "/operations/empty", all, body);
  }

  /** Submits jobs, one after the other, and gives the paths of their monitors. */
  async submitMany(
    count: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<readonly string[]> {
    const paths: string[] = [];
    while (paths.length < count) {
      const { status, headers: answered, body } = await this.submit(headers);
      if (status !== 202) throw new Error(`${this.#url} answered ${status} instead of 202: ${body}`);
      paths.push(new URL(answered.location!, this.#url).pathname);
    }
    return paths;
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(this.#url, { method, path, headers, agent: this.#agent }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: text }),
        );
        response.on("error", reject);
      });
      sent.on("error", reject);
      sent.end(body);
    });
  }
}

/** Does `act` again and again, one at a time, and gives the milliseconds that each took, sorted. */
export async function timeEach(
  act: () => Promise<void>,
  { warmUp, seconds }: { readonly warmUp: number; readonly seconds: number },
): Promise<readonly number[]> {
  for (let turn = 0; turn < warmUp; turn += 1) await act();
  const times: number[] = [];
  const end = performance.now() + seconds * 1_000;
  while (performance.now() < end) {
    const begin = performance.now();
    await act();
    times.push(performance.now() - begin);
  }
  return times.sort((one, other) => one - other);
}

/** The given share of sorted values lies at or below this one. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
