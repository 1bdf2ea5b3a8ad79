// One reading of a page: its programs are written and run, its commands are typed into a shell, in the order of the page.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { freePort, startTied, type TiedProcess } from "../process.ts";
import { type Fence, ROOT } from "./fences.ts";
import { fits, inWordsOfNow, type Words } from "./shown.ts";

/** The port that the pages use; a free one takes its place. */
const PORT = /\b2020\b/g;

const LOADER = join(ROOT, "scripts", "typescript.js");

/** What only reads may be repeated until it shows what the page shows: work takes its time. */
const CHANGES = /(?:^|\s)(?:-X|-d|-F|-T|--json|--data|--data-binary|--request)\b|(?:^|\s)(?:coatcheck|rm|kill)\b/;
const PATIENCE_MS = 25_000;

export interface Session {
  /** Runs a program; ends the one before it. What it prints is held against its `// prints` comments. */
  runProgram(fence: Fence): Promise<void>;
  /** Types in the commands of a console, and holds what they print against what the page shows. */
  runConsole(fence: Fence): Promise<void>;
  close(): Promise<void>;
}

/** The file that a fence is, by its first line such as `// words.ts`. */
export function fileOf(fence: Fence): string {
  return /^\/\/ ([\w./-]+\.ts)$/m.exec(fence.text.split("\n", 1)[0] as string)?.[1] ?? `line-${fence.line}.ts`;
}

export function writeFence(folder: string, fence: Fence): string {
  const file = join(folder, fileOf(fence));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${fence.text}\n`);
  return file;
}

/** Opens a page in a folder of its own, in which its programs lie already. */
export async function openSession(folder: string, curl: string): Promise<Session> {
  const port = await freePort();
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  writeCommand(join(bin, "coatcheck"), `exec node --import "${LOADER}" "${join(ROOT, "src/cli/main.ts")}" "$@"`);
  const path = [bin, dirname(process.execPath), dirname(curl), process.env.PATH ?? ""].join(delimiter);
  const environment = { PATH: path, NO_COLOR: "1", HOME: folder, TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json") };
  const shell = openShell(folder, environment);
  const words: Words = new Map();
  let program: TiedProcess | null = null;

  const start = async (command: readonly string[], waitsForPort: boolean) => {
    await program?.stop();
    const started = startTied(command, { workingDirectory: folder, environment });
    program = started;
    if (waitsForPort) await Promise.race([listening(port), started.ended.then(fellOver)]);
    return started;
  };
  const serveExamples = () => {
    const config = join(ROOT, "examples", "coatcheck.config.ts");
    const main = join(ROOT, "src", "cli", "main.ts");
    const command = [process.execPath, "--import", LOADER, main, "serve", "--config", config, "--port", `${port}`];
    return start(command, true);
  };

  return {
    async runProgram(fence) {
      const file = writeFence(folder, { ...fence, text: fence.text.replaceAll(PORT, `${port}`) });
      const serves = PORT.test(fence.text);
      PORT.lastIndex = 0;
      const started = await start([process.execPath, "--import", LOADER, file], serves);
      if (serves) return;
      const { code, output } = await started.ended;
      program = null;
      if (code !== 0) throw new Error(`The program of line ${fence.line} ended with ${code}: ${output}`);
      const prints = [...fence.text.matchAll(/\/\/ prints:? (.*)$/gm)].map(([, shown]) => shown as string);
      const shown = `…${prints.join(" … ")}…`;
      if (!fits(shown, output, words)) throw new Error(`${shown}\n  is shown, but this was printed:\n${output}`);
    },

    async runConsole({ text, line }) {
      for (const { command, shown } of commandsOf(text)) {
        if (PORT.test(command) && program === null) await serveExamples();
        PORT.lastIndex = 0;
        const typed = () => inWordsOfNow(command, words).replaceAll(PORT, `${port}`);
        const expected = shown.replaceAll(PORT, `${port}`);
        const until = Date.now() + (CHANGES.test(command) ? 0 : PATIENCE_MS);
        for (;;) {
          const { code, output } = await shell.type(typed());
          const isShown = shown === "" || fits(expected, output, words);
          if (code === 0 && isShown) break;
          if (Date.now() < until) {
            await new Promise((resolve) => setTimeout(resolve, 250));
            continue;
          }
          throw new Error(`Line ${line}: ${command}\n  ended with ${code} and printed:\n${output}\n  Shown is:\n${shown}`);
        }
      }
    },

    async close() {
      await shell.close();
      await program?.stop();
    },
  };
}

function fellOver({ code, output }: { code: number | null; output: string }): never {
  throw new Error(`The server ended with ${code} before it listened: ${output}`);
}

/** The lines after `$ `, with those that a backslash continues, and what is shown below each. */
export function commandsOf(text: string): { readonly command: string; readonly shown: string }[] {
  const commands: { command: string; shown: string }[] = [];
  let continues = false;
  for (const line of text.split("\n")) {
    const last = commands.at(-1);
    if (continues && last !== undefined) last.command += `\n${line}`;
    else if (line.startsWith("$ ")) commands.push({ command: line.slice(2), shown: "" });
    else if (last !== undefined) last.shown += `${line}\n`;
    else throw new Error(`A console begins with a command, not with ${JSON.stringify(line)}.`);
    continues = (continues || line.startsWith("$ ")) && line.endsWith("\\");
  }
  return commands.map(({ command, shown }) => ({ command, shown: shown.trim() }));
}

function writeCommand(path: string, line: string): void {
  if (existsSync(path)) return;
  writeFileSync(path, `#!/bin/sh\n${line}\n`);
  chmodSync(path, 0o755);
}

interface Shell {
  type(command: string): Promise<{ readonly code: number; readonly output: string }>;
  close(): Promise<void>;
}

/** A shell that stays open, so that a variable that one command sets is there for the next. */
function openShell(folder: string, environment: Readonly<Record<string, string>>): Shell {
  const child: ChildProcess = spawn("/bin/sh", [], {
    cwd: folder,
    env: { ...process.env, ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  let told: (() => void) | null = null;
  const hear = (chunk: string) => {
    output += chunk;
    told?.();
  };
  child.stdout?.setEncoding("utf8").on("data", hear);
  child.stderr?.setEncoding("utf8").on("data", hear);
  const ended = once(child, "exit");
  return {
    async type(command) {
      output = "";
      child.stdin?.write(`{ ${command}\n} 2>&1 </dev/null\nprintf '\\n=== %s ===\\n' $?\n`);
      for (;;) {
        const match = /\n=== (\d+) ===\n$/.exec(output);
        if (match !== null) return { code: Number(match[1]), output: output.slice(0, match.index) };
        await new Promise<void>((resolve, reject) => {
          told = resolve;
          void ended.then(() => reject(new Error(`The shell ended at ${command}`)));
        });
      }
    },
    async close() {
      child.stdin?.end();
      await ended;
    },
  };
}

/** Resolves once something listens there. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const isUp = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
