/**
 * The rack's certificates: an authority in the state directory, and for every sled and every Nexus
 * a key and a certificate in its own directory, where only it sees them.
 */
import { systemRandom } from '#runtime/random.ts'
import { ok, type Result } from '#runtime/result.ts'
import { AuthorityStore } from '#runtime/tls/store.ts'
import { authorityState, nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import type { RackPlan } from './plan.ts'

/** Makes what is missing and renews what ends soon; what is there and holds is left alone. */
export async function ensureCertificates(
  state: string,
  plan: RackPlan,
  now_ms: number,
): Promise<Result<null, string>> {
  const store = await openAuthority(state, plan, now_ms)
  return store.ok ? await provideAll(store.value, state, plan) : store
}

async function openAuthority(
  state: string,
  plan: RackPlan,
  now_ms: number,
): Promise<Result<AuthorityStore, string>> {
  return await AuthorityStore.open({
    directory: authorityState(state),
    name: `rack ${plan.rack_id}`,
    now_ms,
    random: systemRandom,
  })
}

async function provideAll(
  store: AuthorityStore,
  state: string,
  plan: RackPlan,
): Promise<Result<null, string>> {
  for (const { host, directory } of hostsOf(state, plan)) {
    const provided = await store.provide(host, directory)
    if (!provided.ok) return provided
  }
  return ok(null)
}

/** Who has a certificate, and the directory it is in. */
const hostsOf = (state: string, plan: RackPlan) => [
  ...plan.sleds.map(({ id, number }) => ({
    host: id,
    directory: sledFiles(sledState(state, number)).tls,
  })),
  ...plan.nexus.map(({ id }) => ({ host: id, directory: nexusFiles(nexusState(state)).tls })),
]
