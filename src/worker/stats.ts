// What a worker tells of itself.

export interface WorkerStats {
  /** Handlers that run. */
  readonly running: number;
  /** Attempts whose outcome is not recorded yet. */
  readonly settling: number;
  /** Handlers in this thread that went on after their grace and still do. */
  readonly abandoned: number;
  /** Since the start. */
  readonly claimed: number;
  readonly settled: number;
  /** Attempts that were lost to another worker. */
  readonly lost: number;
  readonly operations: Readonly<Record<string, { readonly running: number; readonly concurrency: number }>>;
}
