// How a process that runs until it is told to stop is told.

/** Resolves at the first signal to stop; the second ends the process. */
export function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    const stop = () => {
      count += 1;
      if (count > 1) process.exit(1);
      resolve();
    };
    process.on("SIGTERM", stop).on("SIGINT", stop);
  });
}

/** What a handler left behind must not keep a process alive that has ended. */
export function endSoon(): void {
  setTimeout(() => process.exit(0), 1000).unref();
}
