/**
 * The fence around what sagas ask of a sled. A member of Nexus that stood still may ask late: after its
 * saga was taken over and ended, even after another saga stopped or deleted what this one is about. What it
 * writes, the store refuses by the lease's generation. A sled remembers nothing for that; it asks back:
 *
 *   Nexus ──ensure_fenced──► actor ──is_wanted──► the same Nexus ──► the store
 *         ◄──── stale ──────       ◄───── no ────
 *
 * The store knows for ever what is over, so there is nothing that a sled could forget too early, or lose
 * when it is killed. Who answers may have stood still himself: he says what the store says now.
 *
 * Why a yes holds until the request is done: the actor asks in the turn of the request, which lasts until
 * it is done. Whatever is decided meanwhile counts only once this same actor was asked for it, and that
 * waits behind this turn.
 *
 * What ends something for good (`destroy`, `leave`, `go_on`) is decided in the store before it is asked
 * for, and never taken back: it may come late, and needs no fence.
 */
import { limits } from '#config/limits.ts'
import type { Context } from '#runtime/actor/actor.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { nexusProtocol, type InstanceMark } from '#actors/nexus.protocol.ts'
import type { Fence } from '#actors/schema.ts'

/**
 * Asks back whether a saga's request still counts. `stale`: it does not. `unconfirmed`: Nexus does not say;
 * nothing may be done, and it may be asked for again.
 */
export async function confirm(
  context: Pick<Context<unknown>, 'ref' | 'signal'>,
  fence: Fence,
  instance: InstanceMark | null = null,
): Promise<Result<null, 'stale' | 'unconfirmed'>> {
  const { nexus, saga_id, owner } = fence
  const said = await context
    .ref(nexusProtocol, 'nexus', nexus)
    .call(
      'is_wanted',
      { fence, instance },
      { timeout_ms: limits.link_connect_ms, signal: context.signal },
    )
  if (!said.ok) return err('unconfirmed', `saga ${saga_id} of ${owner}: ${said.detail}`)
  return said.value ? ok(null) : err('stale', `saga ${saga_id} of ${owner} wants this no more`)
}
