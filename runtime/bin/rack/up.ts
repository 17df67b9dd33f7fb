/** `luge rack up`: from nothing, or from whatever a killed rack left, to a rack that serves. */
import { mkdirSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { rackProfile, type RackProfile } from '#config/rack.ts'
import { otlpUrl, telemetryOf } from '#config/seeing.ts'
import { nexusMembersMax, sledsMax } from '#config/addressing.ts'
import { writeSocketAddress } from '#actors/http/words.ts'
import { choosePlatform } from '#native/select.ts'
import { systemClock } from '#runtime/clock.ts'
import { writeFileAtomically } from '#runtime/files.ts'
import { systemRandom } from '#runtime/random.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { misfit } from '#runtime/schema.ts'
import { ensureCertificates } from './certificates.ts'
import { rackRest, takeDown } from './down.ts'
import { httpsOf, httpsUrl, parseHostPort, provideHttps } from './https.ts'
import { nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import {
  checkRoom,
  home,
  isInside,
  makePlan,
  readJson,
  readPlan,
  unusable,
  writePlan,
  type RackPlan,
} from './plan.ts'
import { membersOf, nexusConfigText, sledConfigOf, urlOf } from './configs.ts'
import { keepUp } from './keep.ts'
import { troubleOf, troublesOfNexus } from './last_words.ts'
import { withLock } from './lock.ts'
import { guideToken, ready_ms_max, tellWhile, waitLinked, waitServed } from './served.ts'
import { checkStore, shownStore, storeOf } from './store.ts'
import { findSupervisor, startSupervisor, waitReady } from './supervisor.ts'

export interface UpOptions {
  readonly platform: string
  readonly state: string
  /** `address:port`; null: the profile's. */
  readonly external: string | null
  /** `address:port` where the API is served over TLS as well; null: the profile's. */
  readonly https: string | null
  /** Files for that; null: the guide's, which tools/create_self_signed_cert.sh makes. */
  readonly certificate: string | null
  readonly key: string | null
  readonly outside: string | null
  /** Path of a rack profile; null: development's. */
  readonly config: string | null
  /** `sqlite` or `postgres://…`; null: what the rack has, SQLite when it is new. */
  readonly store: string | null
  /** How many members Nexus has; null: what the rack has, one when it is new. */
  readonly nexus: string | null
  /** How many sleds; null: what the rack has, one when it is new. */
  readonly sleds: string | null
  readonly detach: boolean
  readonly json: boolean
}
type Refused = Result<null, string>

/** Brings the rack up, prints how to reach it, and unless detached stays until told to stop. */
export async function rackUp(options: UpOptions): Promise<Refused> {
  // The command line may hold the store's password; ps shows the title instead.
  process.title = 'luge rack up'
  const { state } = options
  const readable = readPlan(state)
  if (!readable.ok) return readable
  const lock = { state, verb: 'up', random: systemRandom }
  const up = await withLock(lock, async () => await ensureRack(options))
  if (!up.ok) return up
  announce(options, up.value)
  return options.detach ? ok(null) : await keepUp(state, up.value)
}

/** A rack that serves, or none: what never served leaves nothing. */
async function ensureRack(options: UpOptions): Promise<Result<RackPlan, string>> {
  const { state } = options
  const found = readPlan(state)
  if (!found.ok) return found
  const planned = found.value === null ? await newPlan(options) : samePlan(found.value, options)
  if (!planned.ok) return planned
  const plan = planned.value
  const sleds = plan.sleds.map(({ number }) => sledState(state, number))
  const ranBefore = sleds.some((sled) => findSupervisor(sled) !== null)
  const serves = await bringUp(state, plan, sleds)
  if (serves.ok) return ok(plan)
  if (ranBefore) return serves
  // A rack that served before keeps its state for the next try.
  const isNew = found.value === null
  const down = isNew ? await takeDown(state, plan, false) : await rackRest(state, plan)
  return down.ok ? serves : err(serves.error, `${serves.detail}; and ${down.detail}`)
}

async function bringUp(state: string, plan: RackPlan, sleds: readonly string[]): Promise<Refused> {
  const reached = checkStore(plan)
  if (!reached.ok) return reached
  const written = await writeConfigs(state, plan)
  if (!written.ok) return written
  const ofNexus = () => troublesOfNexus(state, plan)
  const endTelling = tellWhile(ofNexus)
  try {
    return await startAll(state, plan, { sleds, ofNexus })
  } finally {
    endTelling()
  }
}

/** All at once: a sled serves once it has reached Nexus, which is on one of them. */
async function startAll(
  state: string,
  plan: RackPlan,
  { sleds, ofNexus }: { readonly sleds: readonly string[]; readonly ofNexus: () => string },
): Promise<Refused> {
  const started = await Promise.all(
    sleds.map(async (sled) => await ensureSupervisor(sled, ofNexus)),
  )
  for (const one of started) if (!one.ok) return one
  for (const { external, number } of membersOf(plan)) {
    const served = await waitServed(external)
    if (!served.ok) return err(served.error, `${served.detail}: ${troubleOf(state, number)}`)
  }
  return await waitLinked(state, plan)
}

async function newPlan(options: UpOptions): Promise<Result<RackPlan, string>> {
  const read = readJson(options.config ?? `${home}/config/profiles/dev.json`, rackProfile)
  if (!read.ok) return read
  const profile = withOverrides(read.value, options)
  if (!profile.ok) return profile
  const store = storeOf(options.store)
  if (!store.ok) return store
  const size = sizeAsked(options, { store: store.value, profile: profile.value })
  if (!size.ok) return size
  const choice = choosePlatform(options.platform)
  if (!choice.ok) return choice
  process.stderr.write(`luge: platform ${choice.value.platform}: ${choice.value.reason}\n`)
  const { platform } = choice.value
  if (platform === 'linux' && isInside(home, options.state)) {
    return err(
      'invalid_option',
      `--state ${options.state} is inside ${home}, which Nexus sees from its zone, keys and all: name a directory elsewhere`,
    )
  }
  return await makePlan(options.state, {
    platform,
    profile: profile.value,
    store: store.value,
    ...size.value,
  })
}

/** How many members of Nexus and how many sleds a new rack gets. */
function sizeAsked(
  { nexus, sleds }: UpOptions,
  given: { readonly store: string | null; readonly profile: RackProfile },
): Result<{ readonly members: number; readonly sleds: number }, 'invalid_option'> {
  const members = membersAsked(nexus ?? '1', given)
  if (!members.ok) return members
  const asked = sledsAsked(sleds ?? '1', given.profile)
  return asked.ok ? ok({ members: members.value, sleds: asked.value }) : asked
}

/** How many members a new rack gets, if its store and its ports have room for them. */
function membersAsked(
  text: string,
  { store, profile }: { readonly store: string | null; readonly profile: RackProfile },
): Result<number, 'invalid_option'> {
  const members = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0
  if (members < 1 || members > nexusMembersMax) {
    return err(
      'invalid_option',
      `--nexus ${text}: a rack has from 1 to ${nexusMembersMax} members of Nexus`,
    )
  }
  if (members > 1 && store === null) {
    return err(
      'invalid_option',
      `--nexus ${text}: SQLite serves one member of Nexus: give several a database to share, --store postgres://USER@HOST/DATABASE`,
    )
  }
  if (profile.external.port + members - 1 > 65_535) {
    return err(
      'invalid_option',
      `--nexus ${text}: each member serves at a port of its own, counted up from ${profile.external.port}: there are not so many`,
    )
  }
  return ok(members)
}

/** How many sleds a new rack gets. */
function sledsAsked(text: string, { metrics }: RackProfile): Result<number, 'invalid_option'> {
  const sleds = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0
  if (sleds < 1 || sleds > sledsMax) {
    return err('invalid_option', `--sleds ${text}: a rack has from 1 to ${sledsMax} sleds`)
  }
  if (metrics !== undefined && metrics.sled_port + sleds - 1 > 65_535) {
    return err(
      'invalid_option',
      `--sleds ${text}: each sled serves metrics at a port of its own, counted up from ${metrics.sled_port}: there are not so many`,
    )
  }
  return ok(sleds)
}

const different = (state: string, what: string, is: string) =>
  err(
    'different_rack',
    `the rack in ${state} has ${what} ${is}: take it down first (luge rack down --state ${state}) or name another --state`,
  )

/** A rack is what it was planned to be; asking for something else is refused by name. */
function samePlan(plan: RackPlan, options: UpOptions): Result<RackPlan, string> {
  const refuse = (what: string, is: string) => different(options.state, what, is)
  if (options.platform !== 'auto' && options.platform !== plan.platform) {
    return refuse('platform', plan.platform)
  }
  const { address, port } = plan.profile.external
  if (options.external !== null && options.external !== writeSocketAddress(address, port)) {
    return refuse('external address', writeSocketAddress(address, port))
  }
  const members = String(plan.nexus.length)
  if (options.nexus !== null && options.nexus !== members) return refuse('--nexus', members)
  const sleds = String(plan.sleds.length)
  if (options.sleds !== null && options.sleds !== sleds) return refuse('--sleds', sleds)
  const renewed = sameHttps(plan, options)
  return renewed.ok ? sameStore(renewed.value, options) : renewed
}

/** The same place; its certificate may be a new one. */
function sameHttps(plan: RackPlan, options: UpOptions): Result<RackPlan, string> {
  const https = httpsOf(options, plan.profile)
  if (!https.ok) return https
  const [asked = null, had = null] = [https.value, plan.profile.https]
  if (isDeepStrictEqual(asked, had)) return ok(plan)
  if (asked === null || asked.address !== had?.address || asked.port !== had.port) {
    return different(options.state, 'HTTPS', httpsUrl(plan.profile) ?? 'nowhere')
  }
  return writePlan(options.state, { ...plan, profile: { ...plan.profile, https: asked } })
}

function sameStore(plan: RackPlan, options: UpOptions): Result<RackPlan, string> {
  if (options.store === null) return ok(plan)
  const store = storeOf(options.store)
  if (!store.ok) return store
  const known = plan.store ?? null
  if (shownStore(store.value) !== shownStore(known)) {
    return different(options.state, 'store', shownStore(known))
  }
  // The same database; its password may be a new one.
  return store.value === known
    ? ok(plan)
    : writePlan(options.state, { ...plan, store: store.value })
}

function withOverrides(profile: RackProfile, options: UpOptions): Result<RackProfile, string> {
  const external = options.external === null ? profile.external : parseHostPort(options.external)
  if (external === null) {
    return err('invalid_option', `--external ${options.external}: expected ADDRESS:PORT`)
  }
  if (!profile.development) {
    return err(
      'invalid_option',
      'a new rack has nobody but the development logins to log in as: the profile must say "development": true',
    )
  }
  if (!isLoopback(external.address)) {
    process.stderr.write(
      `luge: warning: plain HTTP and the spoof login are open on ${external.address}\n`,
    )
  }
  const https = httpsOf(options, profile)
  if (!https.ok) return https
  const outside_netns = options.outside ?? profile.uplink.outside_netns
  return ok({
    ...profile,
    external,
    ...(https.value === undefined ? {} : { https: https.value }),
    uplink: { ...profile.uplink, outside_netns },
  })
}

async function writeConfigs(state: string, planned: RackPlan): Promise<Result<null, string>> {
  const plan = withTelemetry(planned)
  const url = plan.profile.telemetry?.otlp_url
  if (url !== undefined && misfit(otlpUrl, url) !== '') {
    return err('invalid_option', `OTEL_EXPORTER_OTLP_ENDPOINT: ${url} is no http or https URL`)
  }
  try {
    for (const { number } of plan.sleds) {
      const sled = sledState(state, number)
      mkdirSync(sled, { recursive: true, mode: 0o700 })
      const config = sledConfigOf(state, plan, number)
      writeFileAtomically(sledFiles(sled).config, JSON.stringify(config, null, 2))
    }
    for (const { number } of membersOf(plan)) {
      const nexus = nexusState(state, number)
      mkdirSync(nexus, { recursive: true, mode: 0o700 })
      writeFileAtomically(nexusFiles(nexus).config, nexusConfigText(state, plan, number))
    }
    const provided = provideHttps(state, plan, systemClock.now())
    return provided.ok ? await ensureCertificates(state, plan, systemClock.now()) : provided
  } catch (cause) {
    return unusable(state, cause)
  }
}

/** What the environment says of traces counts for as long as the rack runs. */
function withTelemetry(plan: RackPlan): RackPlan {
  const telemetry = telemetryOf(plan.profile.telemetry, process.env)
  return telemetry === null ? plan : { ...plan, profile: { ...plan.profile, telemetry } }
}

/** A supervisor that already runs is left alone. */
async function ensureSupervisor(
  sled: string,
  ofNexus: () => string,
): Promise<Result<null, string>> {
  if (findSupervisor(sled) !== null) return ok(null)
  const room = checkRoom(sled)
  if (!room.ok) return room
  const child = startSupervisor(sled)
  const ready = await waitReady(child, sled, { timeout_ms: ready_ms_max, ofNexus })
  child.unref()
  return ready
}

function announce(options: UpOptions, plan: RackPlan): void {
  const sleds = plan.sleds.map(({ id, number }) => {
    const { address, dns } = sledConfigOf(options.state, plan, number)
    return { id, address, dns: dns === null ? null : writeSocketAddress(dns.address, dns.port) }
  })
  const members = membersOf(plan).map((member) => urlOf(member.external))
  const [external = '', ...others] = members
  const https = httpsUrl(plan.profile)
  if (options.json) {
    const ready = {
      ready: true,
      platform: plan.platform,
      external,
      nexus: members,
      https,
      token: guideToken,
      dns: sleds[0]?.dns ?? null,
      sleds: sleds.map(({ id, address }) => ({ id, address })),
    }
    process.stdout.write(`${JSON.stringify(ready)}\n`)
    return
  }
  process.stdout.write(
    [
      `The rack serves (platform ${plan.platform}).`,
      `  export OXIDE_HOST=${external}`,
      ...(https === null ? [] : [`  (over TLS: ${https})`]),
      `  export OXIDE_TOKEN=${guideToken}`,
      ...others.map((other) => `  # or, of the same rack: ${other}`),
      '  oxide api /session/me',
      `Take it down with: luge rack down --state ${options.state}`,
      '',
    ].join('\n'),
  )
}

const isLoopback = (address: string) => address === '::1' || address.startsWith('127.')
