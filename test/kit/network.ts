/** Namespaces, guests and witnesses for tests of the sled's network. All of it is removed by `end`. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  attachTap,
  createNetns,
  deleteNetns,
  inNetns,
  keepTap,
  openTap,
} from '#native/linux/libc.sys.ts'
import type { LinkView } from '#native/platform/ports.ts'
import type { Result } from '#runtime/result.ts'

/** What a call gave; fails the test with its words when it gave an error. */
export function value<T, E extends string>(result: Result<T, E>): T {
  assert.ok(result.ok, result.ok ? '' : `${result.error}: ${result.detail}`)
  return result.value
}

export interface Ran {
  readonly status: number
  readonly output: string
}

/** Runs a program to its end; a status other than 0 is an answer, not an error. */
export async function run(program: string, args: readonly string[]): Promise<Ran> {
  const { promise, resolve } = Promise.withResolvers<Ran>()
  execFile(program, args, { timeout: 30_000 }, (error, stdout, stderr) => {
    const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
    resolve({ status, output: `${stdout}${stderr}` })
  })
  return await promise
}

/** Polls until the value is there. */
export async function until<T>(what: string, look: () => T | null | Promise<T | null>): Promise<T> {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = await look()
    if (found !== null) return found
    await sleep(25)
  }
  assert.fail(`it never came true: ${what}`)
}

/** A namespace of the test's own. */
export class Place {
  readonly name: string
  readonly path: string
  readonly #children: ChildProcess[] = []

  constructor(name: string) {
    this.name = name
    this.path = `/run/netns/${name}`
    createNetns(this.path)
    this.ip('link', 'set', 'lo', 'up')
  }

  /** `ip` in this place; throws when it fails. */
  ip(...args: readonly string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' })
  }

  async run(...command: readonly string[]): Promise<Ran> {
    return await run('ip', ['netns', 'exec', this.name, ...command])
  }

  /** Starts a program that runs until the place ends. */
  start(...command: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.name, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#children.push(child)
    return child
  }

  /** A web server whose one page is `page`. */
  async serve(port: number, page: string): Promise<void> {
    const root = mkdtempSync(join(tmpdir(), 'luge-net-web-'))
    writeFileSync(join(root, 'index.html'), page)
    const child = this.start('busybox', 'httpd', '-f', '-p', String(port), '-h', root)
    child.once('exit', () => {
      rmSync(root, { recursive: true, force: true })
    })
    await until(`${this.name} listens on port ${port}`, async () => {
      const { output } = await this.run('ss', '-lnt')
      return output.includes(`:${port} `) ? true : null
    })
  }

  /** What a web server says, or null when it is not reached. */
  async fetch(
    address: string,
    port: number,
    ...options: readonly string[]
  ): Promise<string | null> {
    const url = `http://${address}:${port}/`
    const { status, output } = await this.run('curl', '-s', '-m', '1', ...options, url)
    return status === 0 ? output : null
  }

  async pings(address: string, ...options: readonly string[]): Promise<boolean> {
    const { status } = await this.run('ping', '-c1', '-W1', ...options, address)
    return status === 0
  }

  async end(): Promise<void> {
    for (const child of this.#children) await stop(child)
    deleteNetns(this.path)
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** Sees what passes on a link. */
export class Capture {
  readonly #child: ChildProcess
  #heard = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdout?.on('data', (data: Buffer) => {
      this.#heard += data.toString()
    })
  }

  /** On a link of a place, whose end ends it at the latest. */
  static async on(place: Place, link: string, filter: string): Promise<Capture> {
    return await Capture.#listen(place.start(...Capture.#command(link, filter)))
  }

  /** On a link of a namespace that is no place of the test's. The caller ends it. */
  static async in(netns: string, link: string, filter: string): Promise<Capture> {
    const command = ['netns', 'exec', netns, ...Capture.#command(link, filter)]
    return await Capture.#listen(spawn('ip', command, { stdio: ['ignore', 'pipe', 'pipe'] }))
  }

  static #command(link: string, filter: string): readonly string[] {
    return ['tcpdump', '-lnn', '--immediate-mode', '-i', link, filter]
  }

  static async #listen(child: ChildProcess): Promise<Capture> {
    let says = ''
    child.stderr?.on('data', (data: Buffer) => {
      says += data.toString()
    })
    const capture = new Capture(child)
    await until('tcpdump listens', () => (says.includes('listening on') ? true : null))
    return capture
  }

  /** Source ports, in order, of what came from an address. */
  portsFrom(address: string): readonly number[] {
    const pattern = new RegExp(`IP ${address.replaceAll('.', '\\.')}\\.([0-9]+) >`, 'g')
    return [...this.#heard.matchAll(pattern)].map(([, port]) => Number(port))
  }

  get heard(): string {
    return this.#heard
  }

  async end(): Promise<string> {
    await stop(this.#child)
    return this.#heard
  }
}

/** A namespace on the far side of a guest's port, with one link `eth0`. */
export class Guest extends Place {
  readonly mac: string
  #relay: ChildProcess | null = null

  constructor(name: string, mac: string) {
    super(name)
    this.mac = mac
    inNetns(this.path, () => {
      using tap = attachTap('eth0')
      keepTap(tap)
    })
    this.ip('link', 'set', 'eth0', 'address', mac, 'up')
    execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'])
  }

  /** Plugs the cable into a port. */
  plug({ netns, link }: LinkView): void {
    assert(netns !== null)
    const fds = [openTap(this.path, 'eth0'), openTap(netns, link)] as const
    const relay = new URL('tap_relay.ts', import.meta.url).pathname
    this.#relay = spawn(process.execPath, [relay], {
      stdio: ['ignore', 'ignore', 'inherit', ...fds],
    })
    for (const fd of fds) closeSync(fd)
  }

  /** Takes its address from DHCP; what the client was told, by its names for it. */
  async dhcp(): Promise<ReadonlyMap<string, string>> {
    const scratch = mkdtempSync(join(tmpdir(), 'luge-net-dhcp-'))
    try {
      const script = join(scratch, 'script')
      const told = join(scratch, 'told')
      writeFileSync(script, `#!/bin/sh\n[ "$1" = bound ] && env >${told}\nexit 0\n`, {
        mode: 0o755,
      })
      const options = ['hostname', 'mtu', 'staticroutes'].flatMap((name) => ['-O', name])
      const ran = await this.run(
        ...['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '5', '-T', '1'],
        ...['-s', script, ...options],
      )
      assert.equal(ran.status, 0, ran.output)
      const lines = readFileSync(told, 'utf8').trim().split('\n')
      return new Map(lines.map((line) => [line.replace(/=.*$/s, ''), line.replace(/^[^=]*=/, '')]))
    } finally {
      rmSync(scratch, { recursive: true, force: true })
    }
  }

  /** Configures the address by hand, as DHCP would have it. */
  configure(address: string, gateway: string): void {
    this.ip('addr', 'replace', `${address}/32`, 'dev', 'eth0')
    this.ip('route', 'replace', gateway, 'dev', 'eth0')
    this.ip('route', 'replace', 'default', 'via', gateway, 'dev', 'eth0', 'onlink')
  }

  async unplug(): Promise<void> {
    if (this.#relay !== null) await stop(this.#relay)
    this.#relay = null
  }

  override async end(): Promise<void> {
    await this.unplug()
    await super.end()
  }
}

const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' })

/** Names of namespaces, and links of this one, that begin with something. */
export function leftOf(tag: string, outside: Place | null): readonly string[] {
  const links = outside === null ? ip('-br', 'link') : outside.ip('-br', 'link')
  return [
    ...ip('netns', 'list')
      .split('\n')
      .filter((line) => line.startsWith(`ox${tag}`)),
    ...links.split('\n').filter((line) => line.includes(`oxup${tag}`)),
  ]
}
