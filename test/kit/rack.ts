/** A real rack for a test: its own state directory, port and outside namespace, all removed after. */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createHash, randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { request } from 'undici'

export const repository = resolve(import.meta.dirname, '../..')
const run = promisify(execFile)

export interface Ready {
  readonly ready: boolean
  readonly platform: string
  readonly external: string
  /** Where each member of Nexus serves, the first one first. */
  readonly nexus: readonly string[]
  readonly token: string
  readonly dns: string
  readonly sleds: ReadonlyArray<{ readonly id: string; readonly address: string }>
}

/** Runs a program; its failure is an error that shows what it said. */
export async function sh(file: string, args: readonly string[], env?: NodeJS.ProcessEnv) {
  const { stdout } = await run(file, [...args], {
    env: { ...process.env, ...env },
    maxBuffer: 64 * 1024 * 1024,
    timeout: 180_000,
  })
  return stdout
}

/** Runs a program that may fail; a rack that does not come up says why after a minute. */
export function attempt(file: string, args: readonly string[], env?: NodeJS.ProcessEnv) {
  return spawnSync(file, [...args], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 65_000,
  })
}

/** Polls until `look` gives something; fails with `what` after `within_ms`. */
export async function until<T>(
  what: string,
  within_ms: number,
  look: () => T | null | Promise<T | null>,
): Promise<T> {
  const end = Date.now() + within_ms
  for (;;) {
    const found = await look()
    if (found !== null && found !== false) return found
    assert.ok(Date.now() < end, `${what} within ${within_ms} ms`)
    await sleep(50)
  }
}

/** Below the ports that the kernel gives to connections: none of these takes one before it is used. */
const ports_first = 20_000
const ports_end = 32_000

/** The first of `count` ports in a row that nobody has. */
export async function freePort(count = 1): Promise<number> {
  for (;;) {
    const first = randomInt(ports_first, ports_end - count)
    const all = Array.from({ length: count }, async (_, index) => await isFree(first + index))
    if ((await Promise.all(all)).every(Boolean)) return first
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const { promise, resolve: done } = Promise.withResolvers<boolean>()
  server.once('error', () => {
    done(false)
  })
  server.listen(port, '127.0.0.1', () => {
    server.close(() => {
      done(true)
    })
  })
  return await promise
}

/** Longer than a member stands still in any test. */
const answer_ms_max = 120_000

export class TestRack {
  readonly state = mkdtempSync(join(tmpdir(), 'luge-test-'))
  readonly outside = `lugeout${process.pid}`
  readonly platform: 'linux' | 'sim'
  ready: Ready | null = null
  readonly store: string
  readonly members: number
  readonly sleds: number
  #external = ''

  /** `store` is what `--store` takes; the environment carries it, for a URL may hold a password. */
  constructor(platform: 'linux' | 'sim', store = 'sqlite', members = 1, sleds = 1) {
    this.members = members
    this.sleds = sleds
    this.platform = platform
    this.store = store
  }

  /** Brings the rack up, with `profile` changing the usual one; on linux with the outside in a namespace of the test's own. */
  async up(profile: object | null = null): Promise<Ready> {
    if (this.#external === '') this.#external = `127.0.0.1:${await freePort(this.members)}`
    const args = ['rack', 'up', '--detach', '--json', '--platform', this.platform]
    args.push('--state', this.state, '--external', this.#external)
    if (this.members > 1) args.push('--nexus', String(this.members))
    if (this.sleds > 1) args.push('--sleds', String(this.sleds))
    if (profile !== null) {
      const path = join(this.state, 'profile.json')
      const usual = JSON.parse(readFileSync(join(repository, 'config/profiles/dev.json'), 'utf8'))
      writeFileSync(path, JSON.stringify({ ...usual, ...profile }))
      args.push('--config', path)
    }
    if (this.platform === 'linux') {
      if (!existsSync(`/run/netns/${this.outside}`)) {
        await sh('ip', ['netns', 'add', this.outside])
        await sh('ip', ['-n', this.outside, 'link', 'set', 'lo', 'up'])
      }
      args.push('--outside', `/run/netns/${this.outside}`)
    }
    const env = { LUGE_STORE: this.store }
    const ready = JSON.parse(await sh(join(repository, 'tools/luge'), args, env)) as Ready
    this.ready = ready
    return ready
  }

  /** Waits until it is tried out how guests run: a rack serves before that. */
  async triedOut(): Promise<void> {
    const sled = join(this.state, 'sled1')
    await until('it is known how guests run', 30_000, () => {
      const names = readdirSync(sled).filter((name) => name.startsWith('accelerator.json'))
      const isTried = names.length === 1 && names[0] === 'accelerator.json'
      const trials = processesOf(this.state).filter(({ command }) => /accel=kvm/.test(command))
      return isTried && trials.length === 0 ? true : null
    })
  }

  async down(): Promise<void> {
    await sh(join(repository, 'tools/luge'), ['rack', 'down', '--state', this.state])
  }

  /** Takes everything away, whatever state the test left it in. */
  async destroy(): Promise<void> {
    const down = attempt(join(repository, 'tools/luge'), ['rack', 'down', '--state', this.state])
    if (this.platform === 'linux') attempt('ip', ['netns', 'del', this.outside])
    assert.equal(down.status, 0, down.stderr)
    rmSync(this.state, { recursive: true, force: true })
  }

  async status(): Promise<{ readonly nexus_connected: boolean }> {
    const words = ['rack', 'status', '--json', '--state', this.state]
    const { stdout } = await run(join(repository, 'tools/luge'), words).catch(() => ({
      stdout: '{"nexus_connected":false}',
    }))
    return JSON.parse(stdout) as { nexus_connected: boolean }
  }

  get tag(): string {
    return tagOf(this.state)
  }

  get supervisorPid(): number {
    return this.supervisorOf(1)
  }

  /** The process of the k-th sled. */
  supervisorOf(sled: number): number {
    const text = readFileSync(join(this.state, `sled${sled}/supervisor.json`), 'utf8')
    return (JSON.parse(text) as { pid: number }).pid
  }

  /** The process of a zone of a sim rack. */
  zonePid(name: string): number {
    const text = readFileSync(join(this.state, 'sled1/zones', `${name}.json`), 'utf8')
    return (JSON.parse(text) as { pid: number }).pid
  }

  get env(): NodeJS.ProcessEnv {
    assert.ok(this.ready !== null, 'the rack is up')
    return { OXIDE_HOST: this.ready.external, OXIDE_TOKEN: this.ready.token }
  }

  async oxide(...args: readonly string[]): Promise<string> {
    return await sh(join(repository, 'tools/oxide'), args, this.env)
  }

  /** The same with `input` on stdin. */
  async oxideWith(input: string, ...args: readonly string[]): Promise<string> {
    const asked = run(join(repository, 'tools/oxide'), [...args], {
      env: { ...process.env, ...this.env },
      timeout: 180_000,
    })
    asked.child.stdin?.end(input)
    return (await asked).stdout
  }

  async api<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
    assert.ok(this.ready !== null, 'the rack is up')
    const response = await fetch(`${this.ready.external}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.ready.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`)
    return (text === '' ? null : JSON.parse(text)) as T
  }

  /** Asks the k-th member of Nexus, k from 0; status 0 when it does not answer. */
  async ask(
    member: number,
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly text: string }> {
    assert.ok(this.ready !== null, 'the rack is up')
    const answer = await request(`${this.ready.nexus[member]}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.ready.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headersTimeout: answer_ms_max,
    }).catch(() => null)
    const text = (await answer?.body.text().catch(() => '')) ?? ''
    return { status: answer?.statusCode ?? 0, text }
  }

  /** The guide's organization, project, pool and image; answers the project's path. */
  async prepare(): Promise<string> {
    const text = { description: 'x' }
    await this.api('/organizations', 'POST', { name: 'myorg', ...text })
    await this.api('/organizations/myorg/projects', 'POST', { name: 'myproj', ...text })
    await this.api('/system/ip-pools', 'POST', { name: 'mypool', ...text })
    await this.api('/system/ip-pools/mypool/ranges/add', 'POST', {
      first: '172.20.15.227',
      last: '172.20.15.239',
    })
    await this.api('/system/images', 'POST', {
      name: 'alpine',
      ...text,
      block_size: 512,
      distribution: { name: 'alpine', version: 'propolis-blob' },
      source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
    })
    return '/organizations/myorg/projects/myproj'
  }

  /** Runs a program in the namespace that stands for the outside. */
  outsideRun(...command: readonly string[]) {
    return attempt('ip', ['netns', 'exec', this.outside, ...command])
  }
}

/** The mark on a rack's kernel objects: six hex characters of its state directory's hash. */
export const tagOf = (state: string): string =>
  createHash('sha256').update(state).digest('hex').slice(0, 6)

/** What the OCI runtimes of this machine say runs below a records directory. */
export function containers(root: string): string {
  return ['crun', 'runc'].map((tool) => attempt(tool, ['--root', root, 'list']).stdout).join('')
}

/**
 * The processes of a rack: those with the state directory in their arguments, and those in a zone,
 * whose arguments speak of the zone's paths but whose mounts come from the state directory.
 */
export function processesOf(state: string): ReadonlyArray<{ pid: number; command: string }> {
  const found: { pid: number; command: string }[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const isOurs =
        command.includes(state) ||
        readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(`/${basename(state)}/sled`)
      if (isOurs && Number(pid) !== process.pid) found.push({ pid: Number(pid), command })
    } catch {
      // It has ended meanwhile.
    }
  }
  return found
}

const lines = (file: string, args: readonly string[]) =>
  attempt(file, args).stdout.split('\n').filter(Boolean)

/** What of a rack the machine still has: kernel objects, processes and files. */
export function leftovers(tag: string, state: string): readonly string[] {
  const found: string[] = []
  found.push(...lines('ip', ['netns', 'list']).filter((line) => line.includes(`ox${tag}`)))
  found.push(...lines('ip', ['-o', 'link']).filter((line) => line.includes(tag)))
  found.push(
    ...readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`ox${tag}`) || line.includes(state)),
  )
  found.push(...lines('nft', ['list', 'tables']).filter((line) => line.includes('ox')))
  found.push(...processesOf(state).map(({ command }) => `process ${command}`))
  found.push(...lines('find', ['/sys/fs/cgroup', '-name', `ox${tag}*`]))
  if (existsSync(state) && statSync(state).isDirectory()) {
    found.push(...lines('find', [state, '-mindepth', '1']))
  }
  return found
}
