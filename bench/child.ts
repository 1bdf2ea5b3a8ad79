// Runs one exported function of a module in a process of its own and prints what it resolves with:
// `child.ts <module's URL> <export> <arguments as JSON>`.
const [moduleUrl = "", name = "", json = "[]"] = process.argv.slice(2);
const exports = (await import(moduleUrl)) as Record<string, (...values: unknown[]) => Promise<unknown>>;
const answer = await exports[name]!(...(JSON.parse(json) as unknown[]));
process.stdout.write(`result ${JSON.stringify(answer ?? null)}\n`, () => process.exit(0));
