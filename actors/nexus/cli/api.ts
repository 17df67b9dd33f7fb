/** `oxide api`: any request, for what no other command does. */
import { err, ok, type Result } from '#runtime/result.ts'
import { withQuery, type Answer, type Ask, type Client } from './client.ts'
import { done, type Failed, type Input, type Outcome, type Verb } from './command.ts'
import { header, rawField, typedField, type FieldValue } from './fields.ts'
import { toJson } from './render.ts'
import type { Session } from './session.ts'
import { isFields, parseJson, textOf } from './value.ts'

export const api: Verb = {
  name: 'api',
  summary: 'make a request and print its answer',
  args: [{ name: 'endpoint', summary: 'a path such as /organizations' }],
  flags: [
    { flags: '-X, --method <method>', summary: 'GET, or POST when there is something to send' },
    { flags: '-f, --raw-field <key=value>', summary: 'a text field of the body', many: true },
    {
      flags: '-F, --field <key=value>',
      summary: 'a field that may be a number, true, false, null, @file or - for stdin',
      many: true,
    },
    { flags: '-H, --header <name:value>', summary: 'a header to send', many: true },
    { flags: '--input <file>', summary: 'the body; - is stdin' },
    { flags: '-i, --include', summary: "print the answer's headers too" },
    { flags: '--paginate', summary: 'fetch page after page and print one array' },
  ],
  run: async (session, input) => {
    const asked = await askOf(session, input)
    if (!asked.ok) return asked
    const client = session.client()
    if (!client.ok) return client
    if (input.has('paginate')) return await paginate(session, client.value, asked.value)
    const answer = await client.value.send(asked.value)
    if (!answer.ok) return answer
    return await print(session, answer.value, input.has('include'))
  },
}

type Values = Readonly<Record<string, string | number | boolean | null>>

async function askOf(session: Session, input: Input): Promise<Result<Ask, Failed>> {
  const endpoint = input.text('endpoint') ?? ''
  if (/^https?:/i.test(endpoint)) {
    return err('usage', `"${endpoint}" is not a path: give one such as /organizations`)
  }
  const values = await valuesOf(session, input)
  if (!values.ok) return values
  const headers = headersOf(input)
  if (!headers.ok) return headers
  const hasFields = Object.keys(values.value).length > 0
  const method = methodOf(input, hasFields)
  if (!method.ok) return method
  const path = endpoint.startsWith('/') ? endpoint : `/${endpoint}`
  const ask = { method: method.value, path, headers: headers.value }
  const file = input.text('input')
  // A body that is given whole, or none at all, leaves the query for the fields.
  if (file === null && method.value !== 'GET') {
    return ok(
      hasFields ? { ...ask, ...jsonBody(headers.value, JSON.stringify(values.value)) } : ask,
    )
  }
  const query = Object.entries(values.value).map(([key, value]) => [key, String(value)] as const)
  const target = withQuery(path, Object.fromEntries(query))
  if (file === null) return ok({ ...ask, path: target })
  const body = await bytesOf(session, file)
  return body.ok ? ok({ ...ask, path: target, ...jsonBody(headers.value, body.value) }) : body
}

function methodOf(input: Input, hasFields: boolean): Result<string, 'usage'> {
  const sends = hasFields || input.has('input')
  const method = (input.text('method') ?? (sends ? 'POST' : 'GET')).toUpperCase()
  if (!input.has('paginate')) return ok(method)
  if (method !== 'GET') return err('usage', `--paginate is for GET requests, not ${method}`)
  return input.has('input') ? err('usage', '--paginate and --input exclude each other') : ok(method)
}

type Headers = readonly (readonly [string, string])[]

/** A body and the headers to send it with: it is JSON unless the user says what else. */
function jsonBody(given: Headers, body: string | Uint8Array): Pick<Ask, 'headers' | 'body'> {
  const isNamed = given.some(([name]) => name.toLowerCase() === 'content-type')
  return { headers: isNamed ? given : [['content-type', 'application/json'], ...given], body }
}

function headersOf(input: Input): Result<Headers, 'usage'> {
  const headers: (readonly [string, string])[] = []
  for (const argument of input.all('header')) {
    const parsed = header(argument)
    if (!parsed.ok) return err('usage', parsed.detail)
    headers.push(parsed.value)
  }
  return ok(headers)
}

/** All fields, typed ones read from where they point to. */
async function valuesOf(session: Session, input: Input): Promise<Result<Values, Failed>> {
  const values: Record<string, string | number | boolean | null> = {}
  const parsed = [...input.all('raw-field').map(rawField), ...input.all('field').map(typedField)]
  for (const field of parsed) {
    if (!field.ok) return err('usage', field.detail)
    const value = await valueOf(session, field.value.value)
    if (!value.ok) return value
    values[field.value.key] = value.value
  }
  return ok(values)
}

async function valueOf(
  session: Session,
  value: FieldValue,
): Promise<Result<string | number | boolean | null, 'failed'>> {
  if (value.kind === 'value') return ok(value.value)
  const bytes = await bytesOf(session, value.kind === 'stdin' ? '-' : value.path)
  return bytes.ok ? ok(new TextDecoder().decode(bytes.value)) : bytes
}

async function bytesOf(session: Session, path: string): Promise<Result<Uint8Array, 'failed'>> {
  if (path === '-') return ok(await session.terminal.readAll())
  const file = session.terminal.readFile(path)
  return file.ok ? file : err('failed', file.detail)
}

async function print(session: Session, answer: Answer, include: boolean): Promise<Outcome> {
  const { status, reason, headers, body } = answer
  if (include) {
    const lines = headers.map(([name, value]) => `${session.paint.cyan(name)}: ${value}`)
    await session.say([`HTTP/1.1 ${status} ${reason}`, ...lines, ''].join('\n'))
  }
  // The reason twice is how the original spells it.
  if (status < 200 || status > 299) return err('failed', `${status} ${reason} ${reason}`)
  if (body.trim() === '') return done
  const value = parseJson(body)
  const isJson = value !== null || body.trim() === 'null'
  await session.say(isJson ? toJson(value, session.paint) : body.trimEnd())
  return done
}

/** Follows `next_page` and prints the items of all pages as one array. */
async function paginate(session: Session, client: Client, ask: Ask): Promise<Outcome> {
  const items: unknown[] = []
  let token: string | null = null
  do {
    const path: string = withQuery(ask.path, { page_token: token })
    const answer: Result<Answer, 'failed'> = await client.send({ ...ask, path })
    if (!answer.ok) return answer
    const page = parseJson(answer.value.body)
    const found = isFields(page) ? page['items'] : undefined
    if (answer.value.status !== 200 || !Array.isArray(found)) {
      return await print(session, answer.value, false)
    }
    items.push(...found)
    token = found.length === 0 ? null : textOf(page, 'next_page')
  } while (token !== null)
  await session.say(toJson(items, session.paint))
  return done
}
