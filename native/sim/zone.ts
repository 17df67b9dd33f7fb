/**
 * Zones without isolation: plain child processes that outlive us, on any OS and without root. What
 * runs is written down as pid and start time, one file a zone.
 */
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  identify,
  isAlive,
  processIdentity,
  signal,
  type ProcessIdentity,
} from '#native/process.ts'
import type { ZoneFound, Zones } from '#native/platform/zone.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'

const kill_ms_max = 5_000

export class SimZones implements Zones {
  readonly #directory: string

  /** `state`: the sled's state directory. */
  constructor(options: { readonly state: string }) {
    this.#directory = join(options.state, 'zones')
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
  }

  readonly find: Zones['find'] = async (name) => {
    const identity = this.#identity(name)
    if (identity === null) return ok({ name, state: 'absent', pid: null })
    return isAlive(identity)
      ? ok({ name, state: 'running', pid: identity.pid })
      : ok({ name, state: 'stopped', pid: null })
  }

  readonly list: Zones['list'] = async () => {
    const zones: ZoneFound[] = []
    for (const file of readdirSync(this.#directory).toSorted()) {
      const found = await this.find(file.replace(/\.json$/, ''))
      if (!found.ok) return found
      zones.push(found.value)
    }
    return ok(zones)
  }

  readonly boot: Zones['boot'] = async (config) => {
    const found = await this.find(config.name)
    if (!found.ok || found.value.state === 'running') return found
    for (const { address, port } of config.listen) {
      const free = await isFree(address, port)
      if (!free.ok) return free
    }
    const [program = '', ...args] = config.args
    const addresses = config.listen.map(({ address, port }) =>
      address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    )
    const log = openSync(config.log, 'a', 0o600)
    try {
      const child = spawn(program, args, {
        cwd: '/',
        detached: true,
        stdio: ['ignore', log, log],
        env: {
          ...process.env,
          ...Object.fromEntries(config.env.map(splitAssignment)),
          ...(addresses.length > 0 ? { LUGE_LISTEN: addresses.join(',') } : {}),
        },
      })
      const { promise, resolve } = Promise.withResolvers<string | null>()
      child.once('spawn', () => {
        resolve(null)
      })
      child.once('error', (error) => {
        resolve(explain(error))
      })
      const failed = await promise
      const identity = child.pid === undefined ? null : identify(child.pid)
      child.unref()
      if (failed !== null || identity === null) {
        return err(
          'os_failed',
          `zone ${config.name} did not start: ${failed ?? 'it ended at once'}`,
        )
      }
      writeFileSync(this.#file(config.name), JSON.stringify(identity))
      return ok({ name: config.name, state: 'running', pid: identity.pid })
    } finally {
      closeSync(log)
    }
  }

  readonly remove: Zones['remove'] = async (name, grace_ms) => {
    const identity = this.#identity(name)
    if (identity !== null) {
      signal(identity, 'SIGTERM')
      if (!(await ends(identity, grace_ms))) signal(identity, 'SIGKILL')
      if (!(await ends(identity, kill_ms_max))) {
        return err('os_failed', `zone ${name}: process ${identity.pid} does not end`)
      }
    }
    rmSync(this.#file(name), { force: true })
    return ok(null)
  }

  readonly destroyAll: Zones['destroyAll'] = async (grace_ms) => {
    if (!existsSync(this.#directory)) return ok(null)
    for (const file of readdirSync(this.#directory)) {
      const removed = await this.remove(file.replace(/\.json$/, ''), grace_ms)
      if (!removed.ok) return removed
    }
    rmSync(this.#directory, { recursive: true, force: true })
    return ok(null)
  }

  readonly #file = (name: string) => join(this.#directory, `${name}.json`)

  #identity(name: string): ProcessIdentity | null {
    if (!existsSync(this.#file(name))) return null
    const read: unknown = JSON.parse(readFileSync(this.#file(name), 'utf8'))
    return fits(processIdentity, read) ? read : null
  }
}

async function ends(identity: ProcessIdentity, within_ms: number): Promise<boolean> {
  for (let waited_ms = 0; waited_ms <= within_ms; waited_ms += 20) {
    if (!isAlive(identity)) return true
    await sleep(20)
  }
  return false
}

async function isFree(
  address: string,
  port: number,
): Promise<Result<null, 'address_taken' | 'os_failed'>> {
  const server = createServer()
  const { promise, resolve } = Promise.withResolvers<Error | null>()
  server.once('error', resolve)
  server.listen({ host: address, port }, () => {
    resolve(null)
  })
  const failed = await promise
  const closed = Promise.withResolvers<void>()
  server.close(() => {
    closed.resolve()
  })
  await closed.promise
  if (failed === null) return ok(null)
  return err(
    'address_taken',
    `listen on ${address} port ${port}: ${explain(failed)}: choose another address with --external`,
  )
}

function splitAssignment(assignment: string): [string, string] {
  const at = assignment.indexOf('=')
  return [assignment.slice(0, at), assignment.slice(at + 1)]
}
