/**
 * The rack's certificates: an authority in the state directory, and for every sled and every Nexus
 * a key and a certificate in its own directory, where only it sees them.
 */
import { limits } from '#config/limits.ts'
import { systemRandom } from '#runtime/random.ts'
import { isoTime, systemClock } from '#runtime/clock.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { readCredentials } from '#runtime/tls/credentials.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { AuthorityStore, type Issued } from '#runtime/tls/store.ts'
import { authorityState, nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import { withLock } from './lock.ts'
import { readPlan, unusable, type RackPlan } from './plan.ts'

/** Makes what is missing and renews what ends soon; what is there and holds is left alone. */
export async function ensureCertificates(
  state: string,
  plan: RackPlan,
  now_ms: number,
): Promise<Result<null, string>> {
  try {
    const store = await openAuthority(state, plan, now_ms)
    return store.ok ? await provideAll(store.value, state, plan) : store
  } catch (cause) {
    return unusable(state, cause)
  }
}

/** What of the rack's certificates ends soon or does not hold, a sentence each. */
export async function certificateWarnings(
  state: string,
  plan: RackPlan,
  now_ms: number,
): Promise<readonly string[]> {
  const warnings: string[] = []
  for (const { host, directory } of hostsOf(state, plan)) {
    const found = await readCredentials(hostFiles(directory), host, now_ms)
    if (!found.ok) {
      warnings.push(found.detail)
      continue
    }
    const { leaf, issuer, revocations_end_ms } = found.value
    const ends_ms = [leaf, issuer].map(({ validToDate }) => validToDate.getTime())
    const end_ms = Math.min(...ends_ms, revocations_end_ms)
    if (end_ms - now_ms > limits.tls_warning_ms) continue
    const until = isoTime(end_ms)
    warnings.push(`the certificates of ${host} hold until ${until}: luge rack up renews them`)
  }
  return warnings
}

/** Prints every certificate that was issued and has not ended. */
export async function listCertificates(
  state: string,
  json: boolean,
): Promise<Result<null, string>> {
  return await withExisting(state, 'certificates', async ({ store }) => {
    print(store.issued, json)
    return ok(null)
  })
}

function print(issued: readonly Issued[], json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify(issued)}\n` : issued.map(asLine).join(''))
}

function asLine({ host, serial, not_after_ms, revoked_ms }: Issued): string {
  const fate = revoked_ms === null ? 'holds' : `revoked ${isoTime(revoked_ms)}`
  return `${host}\t${serial}\tuntil ${isoTime(not_after_ms)}\t${fate}\n`
}

/** Revokes what a host has, tells every host, and gives a host of the rack a new key. */
export async function revokeHost(state: string, host: string): Promise<Result<null, string>> {
  return await withExisting(state, 'revoke', async ({ store, plan }) => {
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
  })
}

/** Opens the authority of a rack for one command, while no other works on the rack. */
async function withExisting(
  state: string,
  verb: string,
  work: (rack: { store: AuthorityStore; plan: RackPlan }) => Promise<Result<null, string>>,
): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  const rack = plan.value
  if (rack === null) return err('no_rack', `there is no rack in ${state}`)
  return await withLock({ state, verb, random: systemRandom }, async () => {
    const store = await openAuthority(state, rack, systemClock.now())
    return store.ok ? await work({ store: store.value, plan: rack }) : store
  })
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
  ...plan.nexus.map(({ id }, index) => ({
    host: id,
    directory: nexusFiles(nexusState(state, index + 1)).tls,
  })),
]
