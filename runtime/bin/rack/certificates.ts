/**
 * The rack's certificates: an authority in the state directory, and for every sled and every Nexus
 * a key and a certificate in its own directory, where only it sees them.
 */
import { systemRandom } from '#runtime/random.ts'
import { isoTime, systemClock } from '#runtime/clock.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { AuthorityStore } from '#runtime/tls/store.ts'
import { authorityState, nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import { readPlan, type RackPlan } from './plan.ts'

/** Makes what is missing and renews what ends soon; what is there and holds is left alone. */
export async function ensureCertificates(
  state: string,
  plan: RackPlan,
  now_ms: number,
): Promise<Result<null, string>> {
  const store = await openAuthority(state, plan, now_ms)
  return store.ok ? await provideAll(store.value, state, plan) : store
}

/** Prints every certificate that was issued and has not ended. */
export async function listCertificates(
  state: string,
  json: boolean,
): Promise<Result<null, string>> {
  const opened = await openExisting(state)
  if (!opened.ok) return opened
  const { issued } = opened.value.store
  const line = ({ host, serial, not_after_ms, revoked_ms }: (typeof issued)[number]) => {
    const fate = revoked_ms === null ? 'holds' : `revoked ${isoTime(revoked_ms)}`
    return `${host}\t${serial}\tuntil ${isoTime(not_after_ms)}\t${fate}\n`
  }
  process.stdout.write(json ? `${JSON.stringify(issued)}\n` : issued.map(line).join(''))
  return ok(null)
}

/** Revokes what a host has, tells every host, and gives a host of the rack a new key. */
export async function revokeHost(state: string, host: string): Promise<Result<null, string>> {
  const opened = await openExisting(state)
  if (!opened.ok) return opened
  const { store, plan } = opened.value
  const revoked = await store.revoke(host)
  if (!revoked.ok) return revoked
  if (revoked.value === 0) {
    return err(
      'not_found',
      `host ${host} has no certificate that holds: luge rack certificates lists who has`,
    )
  }
  const provided = await provideAll(store, state, plan)
  if (!provided.ok) return provided
  const what = revoked.value === 1 ? '1 certificate' : `${revoked.value} certificates`
  process.stdout.write(`Revoked ${what} of ${host}.\n`)
  return ok(null)
}

async function openExisting(
  state: string,
): Promise<Result<{ readonly store: AuthorityStore; readonly plan: RackPlan }, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  if (plan.value === null) return err('no_rack', `there is no rack in ${state}`)
  const store = await openAuthority(state, plan.value, systemClock.now())
  return store.ok ? ok({ store: store.value, plan: plan.value }) : store
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
