/**
 * The process around a command, as an argument: its environment, streams, files and clock. A command
 * that gets these from here can be run by a test, and can be read without wondering what it touches.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { systemClock, type Clock } from './clock.ts'
import { err, explain, ok, type Result } from './result.ts'

export interface Terminal {
  /** A variable of the environment; one that is set to nothing counts as absent. */
  readonly env: (name: string) => string | null
  readonly home: string
  readonly stdin_is_terminal: boolean
  readonly stdout_is_terminal: boolean
  readonly stderr_is_terminal: boolean
  /** Writes to stdout and waits until it has been taken. */
  readonly write: (data: string | Uint8Array) => Promise<void>
  readonly writeError: (text: string) => void
  /** All of stdin. */
  readonly readAll: () => Promise<Uint8Array>
  /** Calls back with stdin as it comes and null at its end; returns a function that stops it. */
  readonly listen: (callback: (chunk: Uint8Array | null) => void) => () => void
  /** Asks on stderr and reads a line from stdin; null when the user ends the input instead. */
  readonly ask: (question: string) => Promise<string | null>
  /** Hands every key to the program as it is typed. Undone at exit, however the process ends. */
  readonly rawMode: (on: boolean) => void
  readonly readFile: (path: string) => Result<Uint8Array, 'absent' | 'unreadable'>
  /** Replaces a file at once, readable by its owner only; makes the folders above it. */
  readonly writePrivateFile: (path: string, text: string) => Result<null, 'unwritable'>
  /** Starts a program that outlives this one; false when there is no such program. */
  readonly launch: (program: string, args: readonly string[]) => Promise<boolean>
  readonly clock: Clock
}

/** This process. */
export function processTerminal(): Terminal {
  return {
    env: (name) => {
      const value = process.env[name]
      return value === undefined || value === '' ? null : value
    },
    home: homedir(),
    stdin_is_terminal: process.stdin.isTTY,
    stdout_is_terminal: process.stdout.isTTY,
    stderr_is_terminal: process.stderr.isTTY,
    write,
    writeError: (text) => void process.stderr.write(text),
    readAll,
    listen,
    ask,
    rawMode,
    readFile,
    writePrivateFile,
    launch,
    clock: systemClock,
  }
}

async function write(data: string | Uint8Array): Promise<void> {
  return await new Promise((resolve, reject) => {
    process.stdout.write(data, (error) => {
      if (error === undefined || error === null) resolve()
      else reject(error)
    })
  })
}

async function readAll(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function listen(callback: (chunk: Uint8Array | null) => void): () => void {
  const { stdin } = process
  const onData = (chunk: Uint8Array): void => callback(chunk)
  const onEnd = (): void => callback(null)
  stdin.on('data', onData)
  stdin.once('end', onEnd)
  return () => {
    stdin.off('data', onData)
    stdin.off('end', onEnd)
    stdin.pause()
    stdin.unref()
  }
}

async function ask(question: string): Promise<string | null> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: true })
  return await new Promise((resolve) => {
    lines.once('close', () => resolve(null))
    lines.question(question, (answer) => {
      resolve(answer)
      lines.close()
    })
  })
}

const endings = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const
const restore = (): void => void process.stdin.setRawMode(false)
const enders = Object.entries(endings).map(
  ([signal, number]) => [signal, () => process.exit(128 + number)] as const,
)

function rawMode(on: boolean): void {
  if (!process.stdin.isTTY) return
  process.stdin.setRawMode(on)
  // Leaving by exit() runs the `exit` listeners, so a signal or an uncaught error restores too.
  if (on) process.once('exit', restore)
  else process.off('exit', restore)
  for (const [signal, end] of enders) {
    if (on) process.once(signal, end)
    else process.off(signal, end)
  }
}

function readFile(path: string): Result<Uint8Array, 'absent' | 'unreadable'> {
  try {
    return ok(readFileSync(path))
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    return err(absent ? 'absent' : 'unreadable', `cannot read ${path}: ${explain(error)}`)
  }
}

function writePrivateFile(path: string, text: string): Result<null, 'unwritable'> {
  const next = `${path}.${process.pid}.new`
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(next, text, { mode: 0o600 })
    renameSync(next, path)
    return ok(null)
  } catch (error) {
    return err('unwritable', `cannot write ${path}: ${explain(error)}`)
  }
}

async function launch(program: string, args: readonly string[]): Promise<boolean> {
  return await new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'ignore', detached: true })
    child.once('error', () => resolve(false))
    child.once('spawn', () => {
      child.unref()
      resolve(true)
    })
  })
}
