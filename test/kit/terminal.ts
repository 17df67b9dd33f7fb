/** A terminal that is nobody's but the test's: a pty driven by `terminal_driver.py`. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export type Step =
  | { readonly expect: string }
  | { readonly send: string }
  | { readonly signal: number }
  | { readonly mode: 'raw' | 'cooked' }

export interface Played {
  readonly output: string
  /** Exit status; negative for a signal; null when it had to be killed. */
  readonly code: number | null
  /** Whether the terminal's settings are as they were before. */
  readonly restored: boolean
}

const driver = fileURLToPath(new URL('terminal_driver.py', import.meta.url))

/** Runs a program on a terminal of its own and plays the steps; fails when one does not come true. */
export async function onTerminal(
  program: readonly string[],
  steps: readonly Step[],
  env: NodeJS.ProcessEnv,
): Promise<Played> {
  const args = [driver, JSON.stringify(steps), ...program]
  const { stdout } = await promisify(execFile)('python3', args, { env })
  const report = JSON.parse(stdout) as Played & { readonly problem: string | null }
  assert.equal(report.problem, null, `${report.problem}; the terminal shows:\n${report.output}`)
  return report
}
