/** Hosts for tests of links: an echo each, in this process or in one of its own. */
import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Type } from 'typebox'
import type { TlsFiles } from '#config/tls.ts'
import { behaviour } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { call, protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { Links } from '#runtime/wire/links.ts'
import type { ListenAt } from '#runtime/wire/listening.ts'
import { until } from './rack.ts'

const text = Type.Object({ text: Type.String() })
export const echoProtocol = protocol('echo', 1, {
  echo: call(1, { request: text, reply: text, errors: [] }),
  hang: call(2, { request: text, reply: text, errors: [] }),
})
const never = new Promise<never>(() => undefined)
const echo = behaviour({
  protocol: echoProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 50,
    mailbox_max: 1_000,
    thread: 'main',
    activation: 'by_id',
  },
  init: () => null,
  invariant: () => undefined,
  handlers: {
    echo: (_context, state, request) => ({ state, result: ok(request) }),
    hang: (_context, state) => ({ state, result: never }),
  },
})

export interface HostGiven {
  readonly host: string
  readonly files: TlsFiles
  readonly peers: readonly string[]
}
export interface LinkHost {
  readonly links: Links
  readonly system: System
  readonly identity: Identity
  readonly lines: readonly LogLine[]
  /** Asks the echo of a host; `ok`, or the code of the failure. */
  readonly ask: (to: string, row: 'echo' | 'hang', timeout_ms: number) => Promise<string>
  readonly close: () => void
}

/** A host that has an echo and accepts or dials nobody yet. */
export async function linkHost(
  { host, files, peers }: HostGiven,
  onPeer: (peer: string, isUp: boolean) => void = () => undefined,
): Promise<LinkHost> {
  const lines: LogLine[] = []
  const common = { host, clock: systemClock, log: memoryLog(lines), random: systemRandom }
  const opened = await Identity.open({ ...common, files })
  assert.ok(opened.ok, opened.ok ? '' : opened.detail)
  const identity = opened.value
  const links: Links = new Links({
    ...common,
    exports: [echoProtocol],
    serve: () => system,
    security: { identity, peers },
    onPeer,
  })
  const system: System = new System({
    ...common,
    thread: 'main',
    routes: {},
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  system.add(echo, null)
  const ask: LinkHost['ask'] = async (to, row, timeout_ms) => {
    const ref = system.ref(echoProtocol, 'a', to)
    const answer = await ref.call(row, { text: 'hello' }, { timeout_ms })
    return answer.ok ? 'ok' : answer.error
  }
  const close = () => {
    links.close()
    identity.close()
  }
  return { links, system, identity, lines, ask, close }
}

export interface ProcessGiven extends HostGiven {
  readonly listen: ListenAt | null
  readonly dial: { readonly host: string; readonly port: number; readonly address: string } | null
}
/** What a process is asked to do, and what it answers. */
export interface Order {
  readonly number: number
  readonly to: string
  readonly row: 'echo' | 'hang'
  readonly timeout_ms: number
}
export type Told =
  | { readonly told: 'answer'; readonly number: number; readonly answer: string }
  | { readonly told: 'peer'; readonly peer: string; readonly isUp: boolean }
  | { readonly told: 'ready' }

/** A host in a process of its own. */
export class HostProcess {
  readonly child: ChildProcess
  readonly up = new Set<string>()
  readonly #waiting = new Map<number, (answer: string) => void>()
  #number = 0
  #isReady = false

  /** `netns`: the namespace that it lives in; `fd`: a descriptor that it gets as its 3. */
  constructor(given: ProcessGiven, options: { netns?: string; fd?: number } = {}) {
    const { netns, fd } = options
    const stdio = ['ignore', 'inherit', 'inherit', fd ?? 'ignore', 'ipc'] as const
    const file = fileURLToPath(new URL('link_process.ts', import.meta.url))
    this.child = fork(file, [JSON.stringify(given)], {
      stdio: [...stdio],
      ...(netns === undefined
        ? {}
        : { execPath: 'ip', execArgv: ['netns', 'exec', netns, process.execPath] }),
    })
    this.child.on('message', (told: Told) => {
      if (told.told === 'ready') this.#isReady = true
      else if (told.told === 'answer') this.#waiting.get(told.number)?.(told.answer)
      else if (told.isUp) this.up.add(told.peer)
      else this.up.delete(told.peer)
    })
  }

  /** Waits until it listens and dials. */
  async ready(): Promise<void> {
    await until('the process is ready', 20_000, () => (this.#isReady ? true : null))
  }

  async linked(peer: string, within_ms = 20_000): Promise<void> {
    await until(`the link to ${peer} is up`, within_ms, () => (this.up.has(peer) ? true : null))
  }

  async unlinked(peer: string, within_ms: number): Promise<void> {
    await until(`the link to ${peer} is down`, within_ms, () => (this.up.has(peer) ? null : true))
  }

  /** Has it ask another host's echo; `ok`, or the code of the failure. */
  async ask(to: string, row: Order['row'], timeout_ms: number): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>()
    this.#number += 1
    this.#waiting.set(this.#number, resolve)
    this.child.send({ number: this.#number, to, row, timeout_ms } satisfies Order)
    return await promise
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await ended
  }
}
