/** The Nexus actor: what sleds tell it moves the store, and what they need to know is sent back. */
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { onBehalfOf } from '#runtime/behalf.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import type { Services } from './context.ts'
import { keepSamples } from './storage/disk-samples.ts'
import { publishDns } from './dns-config.ts'
import { applyRuntime } from './compute/instances.ts'
import { isWanted } from './fence.ts'
import { owe } from './propagation.ts'
import { StoreError } from './store/failure.ts'
import { transact } from './store/transact.ts'

export interface NexusDeps {
  readonly services: Services
  /** A sled has come up: the background tasks that are this member's look at it. */
  readonly wake: () => void
  /** What troubles the links to the sleds, a sentence each. */
  readonly warnings: () => readonly string[]
}
type NexusContext = Context<NexusDeps, typeof nexusProtocol>

export const nexus = behaviour({
  protocol: nexusProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 5,
    restarts_period_ms: 10_000,
    shutdown_ms: 1_000,
    mailbox_max: 4096,
    thread: 'main',
    activation: 'start',
  },
  init: (_context: NexusContext) => null,
  invariant: () => undefined,
  handlers: {
    sled_up: async (context, state, hello) => ({
      state,
      result: await withStore(context, 'busy', async () => {
        const { services } = context.deps
        if (!services.config.sleds.includes(hello.sled_id)) {
          return err('unknown_sled', `sled ${hello.sled_id} is not of this rack`)
        }
        const now_ms = context.clock.now()
        const seen = {
          ip: hello.address,
          port: hello.port,
          platform: hello.platform,
          time_modified_ms: now_ms,
        }
        await transact(services, async (store) => {
          await store
            .insertInto('sled')
            .values({
              id: hello.sled_id,
              rack_id: services.config.rack_id,
              time_created_ms: now_ms,
              ...seen,
            })
            .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
            .execute()
          await owe(store, { kind: 'dns', id: '' })
        })
        await publishDns(services, hello.sled_id)
        context.after(0, 'reconcile', { sled_id: hello.sled_id })
        return ok(null)
      }),
    }),

    // No report waits for the one before: generations say which is newer.
    instance_report: (context, state, report) => ({
      state,
      result: withStore(context, 'busy', async () =>
        (await applyRuntime(context.deps.services, report))
          ? ok(null)
          : err('unknown_instance', `there is no instance ${report.instance_id}`),
      ),
    }),

    is_wanted: (context, state, { fence, instance }) => ({
      state,
      result: withStore(context, 'unavailable', async () =>
        ok(await isWanted(context.deps.services, fence, instance)),
      ),
    }),

    // Counters hold no report up.
    disk_samples: (context, state, { samples }) => ({
      state,
      result: withStore(context, 'busy', async () => {
        await keepSamples(context.deps.services, samples)
        return ok(null)
      }),
    }),

    // What waited for the sled goes on; whoever has the task looks at its instances.
    reconcile: (context, state) => {
      const { services, wake } = context.deps
      wake()
      return {
        state,
        result: withStore(context, 'busy', async () => {
          await services.sagas.recover()
          return ok(null)
        }),
      }
    },

    warnings: (context, state) => ({
      state,
      result: ok(context.deps.warnings().map((text) => text.slice(0, 1_024))),
    }),
  },
})

/**
 * Does what a message asks of the store. While the store is away its sender is answered `code`: sleds say
 * it again until it is taken, and Nexus goes on when the store is back.
 */
async function withStore<T, E extends string, C extends 'busy' | 'unavailable'>(
  context: NexusContext,
  code: C,
  work: () => Promise<Result<T, E>>,
): Promise<Result<T, E | C>> {
  try {
    return await onBehalfOf(context, work)
  } catch (error) {
    if (error instanceof StoreError) return err(code, explain(error))
    throw error
  }
}
