/** Where exceptions of the kernel's refusals become the failures that callers switch on. */
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { NetFailure } from '#native/platform/ports.ts'
import { InvalidText } from './addresses.ts'
import { OsError } from './libc.sys.ts'
import { NftError } from './libnftables.sys.ts'

/** Something that was asked for is another's already. */
export class AddressTaken extends Error {
  override readonly name = 'AddressTaken'
}

/** What was asked for cannot be done as things are; the sentence says what to do. */
export class NotPossible extends Error {
  override readonly name = 'NotPossible'
}

const noSpace: ReadonlySet<string> = new Set(['ENOSPC', 'ENOMEM', 'EMFILE', 'ENFILE', 'ENOBUFS'])

/** Runs `work`; refusals become failures, with `what` before them. Bugs are thrown on. */
export function attempt<T>(what: string, work: () => T): Result<T, NetFailure> {
  try {
    return ok(work())
  } catch (error) {
    const code = failureOf(error)
    if (code === null) throw error
    return err(code, `${what}: ${explain(error)}`)
  }
}

/** `attempt` for work that has one way to fail. */
export function attemptOs<T>(what: string, work: () => T): Result<T, 'os_failed'> {
  const result = attempt(what, work)
  return result.ok ? result : err('os_failed', result.detail)
}

function failureOf(error: unknown): NetFailure | null {
  if (error instanceof AddressTaken) return 'address_taken'
  if (error instanceof NotPossible || error instanceof NftError) return 'os_failed'
  if (error instanceof InvalidText) return 'os_failed'
  if (error instanceof OsError) return noSpace.has(error.code) ? 'no_space' : 'os_failed'
  // Node's own calls into the kernel name the call; its argument checks do not.
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return null
  return noSpace.has(String(error.code)) ? 'no_space' : 'os_failed'
}
