/**
 * What an actor of a sled remembers: one entry of the journal, under its kind and its id.
 *
 * What the journal refuses is not there. When nobody can say whether it is there (no answer in time, or the
 * journal's thread ended), the actor may believe neither: it crashes, and its `init` reads what came of it.
 */
import { limits } from '#config/limits.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'
import type { Context } from '#runtime/actor/actor.ts'
import { err, type Result } from '#runtime/result.ts'

type Rememberer = Pick<Context<unknown>, 'id' | 'log' | 'ref'>

const time = { timeout_ms: limits.zone_boot_ms_max }
const journal = (context: Rememberer) => context.ref(journalProtocol, 'sled')
/** Failures after which a write is surely not there. */
const refusals: ReadonlySet<string> = new Set(['os_failed', 'busy', 'invalid', 'unsupported'])

/** The actor's entry as it stands after all that was written before; null for none. Throws when it cannot be read. */
export async function recall(context: Rememberer, kind: string): Promise<unknown> {
  const entry = await journal(context).call('get', { kind, id: context.id }, time)
  if (entry.ok) return entry.value
  throw new Error(`${kind} ${context.id}: the journal cannot be read: ${entry.detail}`)
}

/**
 * Ends when the document is on the disk; null forgets the entry. `os_failed`: it surely is not. Throws when
 * nobody can say.
 */
export async function remember(
  context: Rememberer,
  kind: string,
  document: object | null,
): Promise<Result<null, 'os_failed'>> {
  const { id } = context
  const written =
    document === null
      ? await journal(context).call('remove', { kind, id }, time)
      : await journal(context).call('put', { kind, id, document }, time)
  if (written.ok) return written
  const why = `${kind} ${id}: not journaled: ${written.detail}`
  if (refusals.has(written.error)) return err('os_failed', why)
  throw new Error(`${kind} ${id}: whether it was journaled is not known: ${written.detail}`)
}

/**
 * Puts back what was remembered before something that could not be done. Where the journal refuses that, it
 * keeps what was asked for, to which the next `init` makes the world: whoever looks is told.
 */
export async function putBack(
  context: Rememberer,
  kind: string,
  document: object | null,
): Promise<void> {
  const written = await remember(context, kind, document)
  if (written.ok) return
  context.log.warn('what could not be done is still journaled', { why: written.detail })
}
