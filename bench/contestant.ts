// What is measured, each in a process of its own, and how often: in turns, so that the machine's noise meets all alike.
import { randomUUID } from "node:crypto";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { startTied } from "../test/process.ts";
import { type ProvidedServer, providePostgres, provideRedis } from "../test/servers.ts";

/** A server under test. */
export interface RunningServer {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Measures once, from start to stop; the figures by name. */
export type Measurement = () => Promise<Readonly<Record<string, number>>>;

/** Every sample of each figure, in the order of the rounds; undefined for who did not take part. */
export type Samples<Name extends string> = {
  readonly [name in Name]: Readonly<Record<string, readonly number[]>> | undefined;
};

export interface Turns {
  readonly rounds: number;
  /** Is told of every measurement as it is made. */
  say(line: string): void;
  /** Is told of every measurement begun, and whether the machine was busy with other things then. */
  begun(disturbed: boolean): void;
}

/**
 * Measures each contestant `rounds` times, in turns (A B A B); an undefined one does not take part.
 */
export async function takeTurns<Name extends string>(
  contestants: { readonly [name in Name]: Measurement | undefined },
  { rounds, say, begun }: Turns,
): Promise<Samples<Name>> {
  const samples: Partial<Record<Name, Record<string, number[]>>> = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(contestants) as [Name, Measurement | undefined][]) {
      if (measure === undefined) continue;
      const busy = await waitForQuiet();
      if (busy > quietShare) say(`  (the machine is ${Math.round(busy * 100)} % busy with other things)`);
      begun(busy > quietShare);
      const figures = await measure();
      const shown = Object.entries(figures).map(
        ([figure, value]) => `${figure} ${Number(value.toPrecision(4))}`,
      );
      say(`  ${round}/${rounds} ${name}: ${shown.join(", ")}`);
      const ofOne = samples[name] ?? {};
      samples[name] = ofOne;
      for (const [figure, value] of Object.entries(figures)) {
        ofOne[figure] = [...(ofOne[figure] ?? []), value];
      }
    }
  }
  return samples as Samples<Name>;
}

const quietShare = 0.1;

/** Waits, ten seconds at most, until the machine does nothing else; gives the share of it that is still busy. */
async function waitForQuiet(): Promise<number> {
  const processorTimes = () => {
    const all = cpus().map(({ times }) => ({
      idle: times.idle,
      total: Object.values(times).reduce((a, b) => a + b),
    }));
    return {
      idle: all.reduce((sum, { idle }) => sum + idle, 0),
      total: all.reduce((sum, { total }) => sum + total, 0),
    };
  };
  for (let turn = 1; ; turn += 1) {
    const before = processorTimes();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const after = processorTimes();
    const busy = 1 - (after.idle - before.idle) / (after.total - before.total);
    if (busy <= quietShare || turn === 20) return busy;
  }
}

/** Uses a server for one measurement and stops it, whatever happens. */
export async function using<Server extends { stop(): Promise<void> }, Result>(
  starting: Promise<Server>,
  use: (server: Server) => Promise<Result>,
): Promise<Result> {
  const server = await starting;
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

/** Starts one of `bench/peers`, which prints `ready <url>`. */
export async function startPeer(name: string, ...values: readonly string[]): Promise<RunningServer> {
  const peer = startTied(
    [...node, fileURLToPath(new URL(`./peers/${name}.ts`, import.meta.url)), ...values],
    {
      environment: { NODE_ENV: "production" },
    },
  );
  const url = await peer.line("ready ").catch(async (error: unknown) => {
    await peer.stop();
    throw error;
  });
  return { url, pid: peer.pid, stop: () => peer.stop() };
}

/** Starts a peer that keeps its jobs in Redis: a fresh one, that keeps nothing on disk, which is its fastest. */
export async function startPeerOnRedis(name: string, ...values: readonly string[]): Promise<RunningServer> {
  return await startOn(freshRedis(), (url) => startPeer(name, url, randomUUID(), ...values));
}

/** Starts a server beside the one that keeps its data, and stops both together. */
export async function startOn<Server extends RunningServer>(
  providing: Promise<ProvidedServer>,
  start: (url: string) => Promise<Server>,
): Promise<Server> {
  const kept = await providing;
  const server = await start(kept.url).catch(async (error: unknown) => {
    await kept.stop();
    throw error;
  });
  return {
    ...server,
    async stop() {
      await server.stop();
      await kept.stop();
    },
  };
}

/** A Redis of its own; with `appendonly` every write is synced before it is answered, as Coatcheck asks for. */
export function freshRedis({ appendonly = false } = {}): Promise<ProvidedServer> {
  return provideRedis({ own: true, appendonly });
}

/** A PostgreSQL of its own, with the settings that it comes with. */
export function freshPostgres(): Promise<ProvidedServer> {
  return providePostgres({ own: true });
}

/** Runs one exported function of a module beside this one in a process of its own, and gives what it resolves with. */
export async function runInChild(
  module: string,
  name: string,
  ...values: readonly unknown[]
): Promise<unknown> {
  const child = startTied(
    [
      ...node,
      fileURLToPath(new URL("./child.ts", import.meta.url)),
      new URL(module, import.meta.url).href,
      name,
      JSON.stringify(values),
    ],
    { environment: { NODE_ENV: "production" } },
  );
  const { code, output } = await child.ended;
  const result = output.split("\n").find((line) => line.startsWith("result "));
  if (code !== 0 || result === undefined) throw new Error(`${name} of ${module} failed: ${output}`);
  return JSON.parse(result.slice("result ".length)) as unknown;
}

const node = [
  process.execPath,
  "--import",
  fileURLToPath(new URL("../scripts/typescript.js", import.meta.url)),
];
