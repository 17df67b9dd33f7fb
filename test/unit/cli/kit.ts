/** What the tests of `oxide` share: a server that answers like the API, and the command as a process. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

export const oxideEntry = fileURLToPath(new URL('../../../runtime/bin/oxide.ts', import.meta.url))

export interface Asked {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface Answered {
  readonly status: number
  /** Sent as compact JSON; text is sent as it is. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** By `METHOD /path`. A path that is not there is 404 `Not Found`, as the framework answers. */
export type Routes = Readonly<Record<string, (asked: Asked) => Answered>>

export interface FakeApi {
  readonly host: string
  readonly server: Server
  /** Every request so far, oldest first. */
  readonly asked: Asked[]
}

/** Serves the routes on a port of its own until the test ends. */
export async function fakeApi(test: TestContext, routes: Routes): Promise<FakeApi> {
  const asked: Asked[] = []
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Uint8Array[] = []
    for await (const chunk of request) chunks.push(chunk)
    const url = new URL(request.url ?? '/', 'http://fake')
    const one: Asked = {
      method: request.method ?? '',
      url: url.pathname + url.search,
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    }
    asked.push(one)
    const route = routes[`${one.method} ${one.path}`]
    const { status, body, headers } = route === undefined ? notThere : route(one)
    response.writeHead(status, { 'x-request-id': 'f0e1', ...headers })
    if (body === undefined) response.end()
    else response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  test.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { host: `http://127.0.0.1:${address.port}`, server, asked }
}

const notThere: Answered = { status: 404, body: { request_id: 'f0e1', message: 'Not Found' } }

/** An error of the API: pretty-printed, as it sends them. */
export function refused(status: number, error_code: string | null, message: string): Answered {
  const code = error_code === null ? {} : { error_code }
  return { status, body: JSON.stringify({ request_id: 'f0e1', ...code, message }, null, 2) }
}

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** An empty directory that goes with the test. */
export function scratch(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'luge-cli-'))
  test.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Only what the command needs: nothing of the developer's own settings reaches it. */
export function cleanEnv(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: '/nonexistent',
    OXIDE_CONFIG_DIR: '/nonexistent',
    TERM: 'xterm',
    ...extra,
  }
}

/** Runs `oxide` without a terminal. `input` is its stdin. */
export async function oxide(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  input = '',
): Promise<Ran> {
  return await runProgram([process.execPath, oxideEntry, ...args], cleanEnv(env), input)
}

/** Runs a program to its end. */
export async function runProgram(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  input = '',
): Promise<Ran> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { env, timeout: 30_000 })
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []]
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return {
    code,
    stdout: Buffer.concat(stdout).toString(),
    stderr: Buffer.concat(stderr).toString(),
  }
}
