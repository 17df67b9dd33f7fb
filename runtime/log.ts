/** Structured logging: a sentence and the fields that matter, one JSON line each. */
export interface Log {
  readonly debug: (message: string, fields?: Record<string, unknown>) => void
  readonly info: (message: string, fields?: Record<string, unknown>) => void
  readonly warn: (message: string, fields?: Record<string, unknown>) => void
  readonly error: (message: string, fields?: Record<string, unknown>) => void
  readonly child: (fields: Record<string, unknown>) => Log
}
