/** Requests to the API: one origin, one token, every failure a sentence. */
import { Agent, request } from 'undici'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { refusal } from './failure.ts'
import type { Access } from './settings.ts'
import { connectOptions } from './trust.ts'
import { isFields, numberOf, parseJson, textOf, type Fields } from './value.ts'

export interface Ask {
  readonly method: string
  /** From the root, with its query. */
  readonly path: string
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string | Uint8Array
}

export interface Answer {
  readonly status: number
  /** The words behind the status in the answer's first line. */
  readonly reason: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
}

export interface Page {
  readonly limit: number
  readonly sort_by: string | null
  /** Follow `next_page` to the end. */
  readonly all: boolean
}

export interface Client {
  readonly access: Access
  /** Sends one request as it is; any status is an answer. */
  readonly send: (ask: Ask) => Promise<Result<Answer, 'failed'>>
  /** Sends JSON and gives back the answer's; a status of 400 or more becomes its sentence. */
  readonly call: (method: string, path: string, body?: Fields) => Promise<Result<Fields, 'failed'>>
  /** The records of a list endpoint. */
  readonly list: (path: string, page: Page) => Promise<Result<readonly Fields[], 'failed'>>
  readonly close: () => Promise<void>
}

/** A client for one command; `trace` is told about every request and its answer. */
export function createClient(access: Access, trace: (line: string) => void): Client {
  const agent = new Agent({
    connect: { timeout: limits.cli_connect_ms_max, ...connectOptions(access.host, access.trust) },
    headersTimeout: limits.http_request_ms_max,
    bodyTimeout: limits.http_request_ms_max,
    maxResponseSize: limits.cli_answer_bytes_max,
  })
  const send = async (ask: Ask): Promise<Result<Answer, 'failed'>> =>
    await exchange(agent, access, ask, trace)
  const call = async (
    method: string,
    endpoint: string,
    body?: Fields,
  ): Promise<Result<Fields, 'failed'>> => {
    const json = {
      headers: [['content-type', 'application/json']] as const,
      body: JSON.stringify(body),
    }
    const answer = await send({ method, path: endpoint, ...(body === undefined ? {} : json) })
    if (!answer.ok) return answer
    const { status, reason, body: text } = answer.value
    if (status >= 300) return err('failed', refusal(`${status} ${reason}`, text))
    const value = parseJson(text)
    return ok(isFields(value) ? value : {})
  }
  return {
    access,
    send,
    call,
    list: async (endpoint, page) => await list(call, endpoint, page),
    close: async () => await agent.close(),
  }
}

async function exchange(
  agent: Agent,
  access: Access,
  ask: Ask,
  trace: (line: string) => void,
): Promise<Result<Answer, 'failed'>> {
  const given = ask.headers ?? []
  const named = new Set(given.map(([name]) => name.toLowerCase()))
  const own: (readonly [string, string])[] = [['accept', 'application/json']]
  if (access.token !== null) own.push(['authorization', `Bearer ${access.token}`])
  const headers = [...own.filter(([name]) => !named.has(name)), ...given]
  try {
    const answer = await request(access.host + ask.path, {
      dispatcher: agent,
      method: ask.method,
      headers: headers.flat(),
      body: ask.body ?? null,
    })
    const body = await answer.body.text()
    // Only refusals are shown whole: what succeeds may carry a token.
    const seen = answer.statusCode < 400 ? '' : ` ${body}`
    trace(`${ask.method} ${access.host}${ask.path} → ${answer.statusCode}${seen}`)
    return ok({
      status: answer.statusCode,
      reason: answer.statusText,
      headers: Object.entries(answer.headers).flatMap(([name, value]) =>
        [value ?? []].flat().map((one) => [name, one] as const),
      ),
      body,
    })
  } catch (error) {
    return err('failed', unreachable(access.host, error))
  }
}

/** Why a server could not be asked, and what to do about it. */
export function unreachable(host: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const reason = explain(error) === '' ? code : explain(error)
  const advice = /CERT|SIGNED|SSL|TLS/i.test(code)
    ? 'name its certificate with --cacert FILE, or use an http:// address'
    : 'check OXIDE_HOST and that the rack is up'
  return `✘ Cannot reach the Oxide API at ${host} (${reason}): ${advice}`
}

/** Adds parameters to the query of a path. */
export function withQuery(
  target: string,
  parameters: Readonly<Record<string, string | null>>,
): string {
  const [base = '', query = ''] = target.split('?', 2)
  const search = new URLSearchParams(query)
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null) search.set(name, value)
  }
  return search.size === 0 ? base : `${base}?${search.toString()}`
}

/** A path of the API: fixed words as they are, names from the user escaped. */
export function path(words: TemplateStringsArray, ...names: readonly string[]): string {
  return String.raw({ raw: words }, ...names.map(encodeURIComponent))
}

async function list(
  call: Client['call'],
  endpoint: string,
  page: Page,
): Promise<Result<readonly Fields[], 'failed'>> {
  const items: Fields[] = []
  let token: string | null = null
  do {
    const answer: Result<Fields, 'failed'> = await call(
      'GET',
      withQuery(endpoint, { limit: String(page.limit), sort_by: page.sort_by, page_token: token }),
    )
    if (!answer.ok) return answer
    const found = answer.value['items']
    const here = Array.isArray(found) ? found.filter(isFields) : []
    items.push(...here)
    // The page behind the last one is empty, and only that one has no successor.
    token = here.length === 0 ? null : textOf(answer.value, 'next_page')
  } while (page.all && token !== null)
  return ok(items)
}

/** The serial console's answer: bytes and the offset behind them. */
export interface SerialChunk {
  readonly data: Uint8Array
  readonly last_byte_offset: number
}

/** Reads a serial console answer; null when it is none. */
export function serialChunk(answer: Fields): SerialChunk | null {
  const data = answer['data']
  const last = numberOf(answer, 'last_byte_offset')
  if (!Array.isArray(data) || last === null) return null
  return { data: Uint8Array.from(data, Number), last_byte_offset: last }
}
