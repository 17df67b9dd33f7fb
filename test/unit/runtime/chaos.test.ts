/**
 * Threads and processes are killed at random under load, and every call is accounted for: it was
 * answered, refused, or failed with a cause; none is lost, and nothing is done twice. CHAOS_SECONDS
 * says for how long (8 unless given), CHAOS_SEED repeats a choice of victims.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makePipes } from '#native/pipes.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { ThreadLinks } from '#runtime/thread/links.ts'
import { Threads } from '#runtime/thread/threads.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { hostNames, routes, threadNames, workProtocol } from '#test/kit/chaos_work.ts'
import { freePort, until } from '#test/kit/rack.ts'

const seconds = Number(process.env['CHAOS_SECONDS'] ?? 8)
const seed = Number(process.env['CHAOS_SEED'] ?? Math.floor(systemRandom.next() * 2 ** 32))
const callers = 48
const timeout_ms_max = 1_500

class Fleet {
  readonly directory = mkdtempSync(join(tmpdir(), 'luge-chaos-'))
  readonly done = join(this.directory, 'done')
  readonly lines: LogLine[] = []
  readonly exhausted: string[] = []
  readonly links: ThreadLinks
  readonly hosts: Links
  readonly system: System
  readonly threads: Threads
  readonly #children = new Map<string, ChildProcess>()
  #isClosing = false

  constructor() {
    const pipes = makePipes()
    writeFileSync(this.done, '')
    this.links = new ThreadLinks({
      clock: systemClock,
      pipes,
      onBroken: (_thread, why) => this.exhausted.push(why),
    })
    this.hosts = new Links({
      host: 'here',
      clock: systemClock,
      random: systemRandom,
      log: memoryLog(this.lines),
      exports: [],
      serve: () => this.system,
      security: null,
    })
    this.system = new System({
      host: 'here',
      thread: 'main',
      clock: systemClock,
      random: systemRandom,
      log: memoryLog(this.lines),
      routes,
      toThread: (thread) => this.links.to(thread),
      toHost: (host) => this.hosts.to(host),
    })
    this.links.host = this.system
    this.threads = new Threads({
      entry: new URL('../../kit/chaos_thread.ts', import.meta.url),
      names: threadNames,
      data: this.done,
      links: this.links,
      pipes,
      log: memoryLog(this.lines),
      clock: systemClock,
      onExhausted: (thread, why) => this.exhausted.push(`${thread}: ${why}`),
      restarts_max: 10_000,
    })
  }

  async start(): Promise<void> {
    await this.threads.start()
    for (const name of hostNames) {
      const port = await freePort()
      this.#spawn(name, port)
      this.hosts.dial(name, connector({ host: '127.0.0.1', port }))
    }
    for (const name of hostNames) {
      await until(`${name} is up`, 20_000, () => (this.hosts.to(name) === null ? null : true))
    }
  }

  killProcess(name: string): void {
    this.#children.get(name)?.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    this.#isClosing = true
    this.hosts.close()
    for (const child of this.#children.values()) child.kill('SIGKILL')
    await this.threads.stop()
    await this.system.stop()
    this.links.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  #spawn(name: string, port: number): void {
    const entry = fileURLToPath(new URL('../../kit/chaos_process.ts', import.meta.url))
    const child = spawn(process.execPath, [entry, name, String(port), this.done], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    this.#children.set(name, child)
    child.once('exit', () => {
      if (!this.#isClosing) this.#spawn(name, port)
    })
  }
}

const random = seededRandom(seed)
const pick = (below: number) => Math.floor(random.next() * below)
const oneOf = <T>(all: readonly T[]): T => {
  const found = all[pick(all.length)]
  assert.ok(found !== undefined)
  return found
}

/** What became of each request, by its number. */
class Ledger {
  readonly outcomes: (string | null)[] = []
  readonly wrong: string[] = []

  open(): number {
    return this.outcomes.push(null) - 1
  }

  close(request: number, outcome: string): void {
    if (this.outcomes[request] !== null) this.wrong.push(`${request} ended twice`)
    this.outcomes[request] = outcome
  }

  get lost(): number {
    return this.outcomes.filter((outcome) => outcome === null).length
  }

  counts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const outcome of this.outcomes) {
      const code = outcome ?? 'lost'
      counts[code] = (counts[code] ?? 0) + 1
    }
    return counts
  }
}

/** An actor of a thread or of another host. */
function anyTarget() {
  const far = pick(3) === 0
  return {
    kind: far ? 'far' : oneOf(threadNames),
    host: far ? oneOf(hostNames) : null,
    id: `actor-${pick(24)}`,
  }
}

/** One call, of a kind by chance: by main itself, or through an actor that calls another. */
async function oneCall({ system }: Fleet, ledger: Ledger): Promise<void> {
  const request = ledger.open()
  const timeout_ms = 20 + pick(timeout_ms_max - 20)
  const payload = 'x'.repeat(pick(20) === 0 ? pick(100_000) : pick(200))
  const job = { request, pause_ms: pick(4) === 0 ? pick(20) : 0, payload }
  const { kind, host, id } = anyTarget()
  const abort = new AbortController()
  if (pick(20) === 0) setTimeout(() => abort.abort(), pick(30))
  const options = { timeout_ms, signal: abort.signal }
  if (pick(4) > 0) {
    const answer = await system.ref(workProtocol(kind), id, host).call('work', job, options)
    if (answer.ok && answer.value !== request) ledger.wrong.push(`${request} got another's answer`)
    ledger.close(request, answer.ok ? 'ok' : answer.error)
    return
  }
  const relay = system.ref(workProtocol(oneOf(threadNames)), `relay-${pick(8)}`)
  const answer = await relay.call('relay', { kind, host, id, timeout_ms, job }, options)
  // What became of the request itself is only known when the relay could tell.
  ledger.close(request, answer.ok ? answer.value : `relay ${answer.error}`)
}

async function strike(fleet: Fleet, struck: Map<string, number>): Promise<void> {
  const { system, threads } = fleet
  const thread = oneOf(threadNames)
  const deeds: readonly (readonly [string, () => unknown])[] = [
    ['thread ended itself', () => system.ref(workProtocol(thread), 'victim').cast('die', null)],
    ['thread was terminated', () => threads.kill(thread)],
    ['process was killed', () => fleet.killProcess(oneOf(hostNames))],
    [
      'actor crashed',
      () => system.ref(workProtocol(thread), `actor-${pick(24)}`).cast('crash', null),
    ],
    ['two threads died at once', () => Promise.all([threads.kill('one'), threads.kill('two')])],
  ]
  const [what, act] = oneOf(deeds)
  struck.set(what, (struck.get(what) ?? 0) + 1)
  await act()
}

test(`every call is accounted for while threads and processes die, for ${seconds} s from seed ${seed}`, async (context) => {
  const fleet = new Fleet()
  const ledger = new Ledger()
  const struck = new Map<string, number>()
  try {
    await fleet.start()
    const end_ms = Date.now() + seconds * 1_000
    const isOn = () => Date.now() < end_ms
    const load = Array.from({ length: callers }, async () => {
      while (isOn()) {
        await oneCall(fleet, ledger)
        // Whoever was refused comes back a little later.
        if (ledger.outcomes.at(-1) === 'unreachable') await systemClock.sleep(2)
      }
    })
    const chaos = (async () => {
      while (isOn()) {
        await systemClock.sleep(200 + pick(800))
        await strike(fleet, struck)
      }
    })()
    await chaos
    // No call waits longer than its limit, so all have ended soon.
    await Promise.race([
      Promise.all(load),
      systemClock.sleep(timeout_ms_max + 5_000).then(() => {
        assert.equal(ledger.lost, 0, 'calls that never ended')
      }),
    ])
    account(fleet, ledger)
    await untilAllServe(fleet)
    for (const [thread, { calls }] of inflight(fleet)) {
      assert.equal(calls, 0, `calls to ${thread} are still counted as under way`)
    }
    const counts = JSON.stringify(ledger.counts())
    context.diagnostic(`${ledger.outcomes.length} calls: ${counts}; ${JSON.stringify([...struck])}`)
  } finally {
    await fleet.stop()
  }
})

function inflight({ links, hosts }: Fleet): readonly (readonly [string, { calls: number }])[] {
  const ways = [
    ...threadNames.map((name) => [name, links.to(name)] as const),
    ...hostNames.map((name) => [name, hosts.to(name)] as const),
  ]
  return ways.map(([name, channel]) => [name, { calls: channel?.inflight ?? 0 }])
}

const known = new Set(['ok', 'busy', 'deadline', 'cancelled', 'unreachable', 'crashed'])
/** Whether an outcome and how often the request was done go together. */
function isAccounted(outcome: string | null, times: number): boolean {
  if (outcome === null || !known.has(outcome.replace('relay ', ''))) return false
  // An answer says that it was done, `busy` that it was not; all else leaves it open.
  if (outcome === 'ok') return times === 1
  return outcome === 'busy' ? times === 0 : times <= 1
}

/** Holds what the callers were told against what was done. */
function account(fleet: Fleet, ledger: Ledger): void {
  const done = new Map<number, number>()
  for (const line of readFileSync(fleet.done, 'utf8').split('\n')) {
    if (line !== '') done.set(Number(line), (done.get(Number(line)) ?? 0) + 1)
  }
  const wrong = ledger.outcomes
    .map((outcome, request) => ({ outcome, request, times: done.get(request) ?? 0 }))
    .filter(({ outcome, times }) => !isAccounted(outcome, times))
  assert.deepEqual(ledger.wrong, [])
  assert.deepEqual(wrong.slice(0, 10), [])
  assert.deepEqual(fleet.exhausted, [])
  const counts = ledger.counts()
  assert.ok((counts['ok'] ?? 0) > ledger.outcomes.length / 10, JSON.stringify(counts))
  assert.ok((counts['crashed'] ?? 0) > 0, JSON.stringify(counts))
}

/** What was killed is there again, every thread for every other. */
async function untilAllServe({ system }: Fleet): Promise<void> {
  const job = { request: 0, pause_ms: 0, payload: '' }
  const targets = [
    ...threadNames.map((kind) => ({ kind, host: null })),
    ...hostNames.map((host) => ({ kind: 'far', host })),
  ]
  for (const from of threadNames) {
    for (const { kind, host } of targets) {
      await until(`${from} reaches ${host ?? kind}`, 20_000, async () => {
        const relay = system.ref(workProtocol(from), 'relay')
        const call = { kind, host, id: 'last', timeout_ms: 1_000, job }
        const answer = await relay.call('relay', call, { timeout_ms: 2_000 })
        return answer.ok && answer.value === 'ok' ? true : null
      })
    }
  }
}
