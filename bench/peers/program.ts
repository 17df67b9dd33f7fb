/**
 * Contestants that are programs of their own. Each is started and says `ready`; then it reads
 * a number of operations a line, does them, and answers with one line of JSON. So contestants in
 * any language take exact turns, and their CPU time is read from the outside alike for all.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Contestant, Entrant, Measurement } from '../contestant.ts'
import { cpuTime_ns } from './cpu.ts'

/** What a program answers; CPU time is added on this side. */
const answer = Type.Object({
  operations: Type.Integer({ minimum: 1 }),
  wall_ns: Type.Number({ exclusiveMinimum: 0 }),
  p50_ns: Type.Union([Type.Number(), Type.Null()]),
  p99_ns: Type.Union([Type.Number(), Type.Null()]),
  bytes: Type.Union([Type.Number(), Type.Null()]),
  max_ns: Type.Optional(Type.Number()),
})

/** A program that hangs must not hang the benchmark. */
const line_ms_max = 60_000
/** Some take a whole rack down. */
const stop_ms_max = 30_000
const complaint_chars_max = 2_000

export class Program {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #what: string
  readonly #endsBy: 'input' | 'signal'
  #complaint = ''

  /** `endsBy`: what makes it stop, the end of its standard input or a SIGTERM. */
  constructor(command: string, args: readonly string[], endsBy: 'input' | 'signal' = 'input') {
    this.#endsBy = endsBy
    this.#what = [command, ...args].join(' ')
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const { stdin, stdout, stderr } = this.#child
    if (stdin === null || stdout === null || stderr === null) throw new Error('no pipes')
    // A program that is gone is noticed where its line is awaited.
    this.#child.on('error', (error) => (this.#complaint = error.message))
    stdin.on('error', () => undefined)
    stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString()).slice(-complaint_chars_max)
    })
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  get cpu_ns(): number {
    return cpuTime_ns(this.#child.pid ?? 0)
  }

  /** Waits until it is at work; gives back what it said behind `ready`. */
  async ready(): Promise<string> {
    const line = await this.#line()
    if (!line.startsWith('ready')) throw new Error(`${this.#what} said ${line} instead of ready`)
    return line.slice('ready '.length)
  }

  async order(operations: number): Promise<Omit<Measurement, 'cpu_ns'>> {
    this.#child.stdin?.write(`${operations}\n`)
    return Value.Decode(answer, JSON.parse(await this.#line()))
  }

  /** Asks it to stop and waits until it has; one that does not is killed. */
  async stop(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child
    if (pid === undefined || exitCode !== null || signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.stdin?.end()
    if (this.#endsBy === 'signal') this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stop_ms_max)
    await exited
    clearTimeout(timer)
  }

  async #line(): Promise<string> {
    const timer = setTimeout(() => {
      this.#complaint += ` it said nothing for ${line_ms_max} ms`
      this.#child.kill('SIGKILL')
    }, line_ms_max)
    const line = await this.#lines.next()
    clearTimeout(timer)
    if (line.done === true) throw new Error(`${this.#what} ended: ${this.#complaint}`)
    return line.value
  }
}

/**
 * Starts what a contestant is made of; the CPU time of a `tool`, which makes the load and is the same for
 * all, does not count. Whatever was started is stopped again if the rest fails.
 */
export async function assemble(
  build: (started: (program: Program, part?: 'measured' | 'tool') => Program) => Promise<Program>,
): Promise<Contestant> {
  const all: Program[] = []
  const measured: Program[] = []
  // The last started goes first: clients before their servers.
  const close = async () => {
    for (const program of all.toReversed()) await program.stop()
  }
  const cpu_ns = () => measured.reduce((sum, program) => sum + program.cpu_ns, 0)
  try {
    const asked = await build((program, part = 'measured') => {
      all.push(program)
      if (part === 'measured') measured.push(program)
      return program
    })
    const run = async (operations: number) => {
      const before_ns = cpu_ns()
      const answered = await asked.order(operations)
      return { ...answered, cpu_ns: cpu_ns() - before_ns }
    }
    return { run, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** A program of ours, its path below bench/, run by this Node. */
export function nodeProgram(path: string, ...args: readonly string[]): Program {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url))
  return new Program(process.execPath, ['--expose-gc', file, ...args])
}

/** An entrant that is one program of Node. */
export function nodeEntrant(name: string, path: string, ...args: readonly string[]): Entrant {
  const open = async () =>
    await assemble(async (started) => {
      const program = started(nodeProgram(path, ...args))
      await program.ready()
      return program
    })
  return { name, obstacle: () => null, open }
}

/** An entrant of two programs of Node: a server, and a client that is told what the server said. */
export function nodePairEntrant(name: string, path: string, ...args: readonly string[]): Entrant {
  const open = async () =>
    await assemble(async (started) => {
      const where = await started(nodeProgram(path, 'server', ...args)).ready()
      const client = started(nodeProgram(path, 'client', ...args, where))
      await client.ready()
      return client
    })
  return { name, obstacle: () => null, open }
}

/** Why a command cannot be run here; null when it can. */
export function missing(command: string): string | null {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  const isThere = folders.some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  return isThere ? null : `${command} is not installed: run tools/install_bench_peers.sh`
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  server.close()
  await once(server, 'close')
  return address.port
}
