/** A sled's network: what Nexus says of guests on other sleds reaches the kernel here. */
import type { Ports } from '#native/platform/ports.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { networkProtocol } from '#actors/network.protocol.ts'

type NetworkContext = Context<{ readonly ports: Ports }, typeof networkProtocol>
interface State {
  readonly nat_generation: number
}

export const network = behaviour({
  protocol: networkProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 1_000,
    mailbox_max: 64,
    thread: 'net',
    activation: 'start',
  },
  init: (): State => ({ nat_generation: -1 }),
  invariant: () => undefined,
  handlers: {
    set_v2p: ({ deps }: NetworkContext, state, { vni, mappings }) => ({
      state,
      result: refusal(deps.ports.setV2p(vni, mappings)),
    }),

    set_nat: ({ deps }: NetworkContext, state, { generation, entries }) => {
      if (generation < state.nat_generation) return { state, result: ok(null) }
      const set = deps.ports.setNat(entries)
      const next = set.ok ? { nat_generation: generation } : state
      return { state: next, result: refusal(set) }
    },
  },
})

const refusal = (set: Result<null, string>): Result<null, 'os_failed'> =>
  set.ok ? set : err('os_failed', set.detail)
