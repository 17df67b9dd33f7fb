/**
 * The rack's plan: what RSS decides once and every later start repeats. It is `rack.json` in the
 * state directory, written before anything else is made, so that a rack killed at any moment can
 * be brought up again or taken down from it.
 */
import { createHash, randomUUID } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { Type, type Static, type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { ports } from '#config/ports.ts'
import { limits } from '#config/limits.ts'
import { rackProfile } from '#config/rack.ts'
import { writeFileAtomically } from '#runtime/files.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'

export const rackPlan = Type.Object({
  version: Type.Literal(1),
  rack_id: Type.String(),
  platform: Type.Enum(['linux', 'sim']),
  /** Six hex characters of the state directory's path: the mark on every kernel object. */
  tag: Type.String(),
  profile: rackProfile,
  /** `postgres://…`; null or absent: SQLite in Nexus' directory. */
  store: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  /** Where internal DNS listens: 53 on the underlay, a port that was free on sim. */
  dns_port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  sleds: Type.Array(Type.Object({ id: Type.String(), number: Type.Integer() })),
  nexus: Type.Array(Type.Object({ id: Type.String() })),
})
export type RackPlan = Static<typeof rackPlan>

/** The directory of the repository that runs. */
export const home = resolve(import.meta.dirname, '../../..')

export const planPath = (state: string): string => join(state, 'rack.json')

/** Reads and checks a JSON file; the error names the file and the first thing wrong in it. */
export function readJson<S extends TSchema>(
  path: string,
  schema: S,
): Result<Static<S>, 'invalid_file'> {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    return err('invalid_file', `${path}: ${explain(cause)}`)
  }
  const compiled = Compile(schema)
  if (compiled.Check(value)) return ok(value)
  const [first] = compiled.Errors(value)
  return err('invalid_file', `${path}: ${first?.instancePath ?? ''} ${first?.message ?? ''}`)
}

/** The plan in a state directory; null when no rack was ever brought up there. */
export function readPlan(state: string): Result<RackPlan | null, 'invalid_file'> {
  try {
    statSync(planPath(state))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ok(null)
    // Not to be mistaken for no rack.
    return err(
      'invalid_file',
      `the rack's plan cannot be read: ${explain(error)}: act as the user who brought the rack up`,
    )
  }
  return readJson(planPath(state), rackPlan)
}

/** Decides a new rack's identities and writes them down. */
export async function makePlan(
  state: string,
  given: Pick<RackPlan, 'platform' | 'profile' | 'store'> & {
    /** How many members Nexus has. */
    readonly members: number
    readonly sleds: number
  },
): Promise<Result<RackPlan, 'state_unusable'>> {
  const plan: RackPlan = {
    version: 1,
    rack_id: randomUUID(),
    platform: given.platform,
    tag: createHash('sha256').update(state).digest('hex').slice(0, 6),
    profile: given.profile,
    store: given.store ?? null,
    dns_port: given.platform === 'sim' ? await freePort() : ports.dns,
    sleds: Array.from({ length: given.sleds }, (_, index) => ({
      id: randomUUID(),
      number: index + 1,
    })),
    nexus: Array.from({ length: given.members }, () => ({ id: randomUUID() })),
  }
  return writePlan(state, plan)
}

/** Writes a plan down; gives it back. */
export function writePlan(state: string, plan: RackPlan): Result<RackPlan, 'state_unusable'> {
  let made: string | undefined
  try {
    made = mkdirSync(state, { recursive: true, mode: 0o700 })
    writeFileAtomically(planPath(state), JSON.stringify(plan, null, 2))
  } catch (cause) {
    if (made !== undefined) rmSync(state, { recursive: true, force: true })
    return unusable(state, cause)
  }
  return ok(plan)
}

/** Why a state directory cannot be written, and what to do. */
export const unusable = (state: string, cause: unknown) =>
  err(
    'state_unusable',
    `state directory ${state} cannot be written: ${explain(cause)}: name another with --state`,
  )

/** Whether a path is a directory or below it, also through symbolic links. */
export function isInside(directory: string, path: string): boolean {
  const way = relative(realpathSync(directory), realPathOf(path))
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`))
}

/** The real path of what may not be there yet. */
function realPathOf(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(realPathOf(dirname(path)), basename(path))
}

/** A rack does not begin on a disk that is as good as full: it would stop half way. */
export function checkRoom(directory: string): Result<null, 'state_unusable'> {
  const { bavail, bsize } = statfsSync(directory)
  const free = bavail * bsize
  return free >= limits.state_free_bytes_min
    ? ok(null)
    : err(
        'state_unusable',
        `the disk of ${directory} is full: a rack needs ${limits.state_free_bytes_min} bytes, ${free} are free: make room, or name a --state on another disk`,
      )
}

/** A port of loopback that nobody has now. */
async function freePort(): Promise<number> {
  const server = createServer()
  const { promise, resolve: done } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', () => {
    done()
  })
  await promise
  const address = server.address()
  server.close()
  if (typeof address !== 'object' || address === null) throw new Error('no port is free')
  return address.port
}
