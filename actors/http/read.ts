/** From what came over the wire to checked values: the parts of a path, a query, a body. */
import { Type, type TSchema } from 'typebox'
import { badRequest } from './errors.ts'
import { canonical } from './canonical.ts'
import { problemOf } from './check.ts'
import { JsonError, parseJson, placeOf } from './json.ts'
import type { Operation } from './operation.ts'

/** The parts of the path, checked. Throws 400. */
export function readPath(operation: Operation, params: unknown): ReadonlyMap<string, string> {
  const given = new Map(Object.entries(typeof params === 'object' ? (params ?? {}) : {}))
  return new Map(
    Object.entries(operation.path_parts).map(([part, schema]) => {
      const place = 'bad parameter in URL path: '
      const text = String(given.get(part) ?? '')
      const value = isInteger(schema) ? numberOf(text, place) : text
      const problem = problemOf(schema, value)
      if (problem !== null) throw badRequest(`${place}${problem.words}`)
      return [part, String(canonical(schema, value))]
    }),
  )
}

/** The query's known parameters, numbers as numbers; what is unknown is ignored. Throws 400. */
export function readQuery(schema: TSchema, text: string): Readonly<Record<string, unknown>> {
  return readPairs(schema, text, 'unable to parse query string: ')
}

/** A body's value. Throws 400 with what was wrong and where. */
export function readBody(operation: Operation, contentType: string | null, bytes: Buffer): unknown {
  const { body_type, body: schema } = operation
  const type = (contentType ?? body_type).split(';')[0]?.trim().toLowerCase() ?? ''
  if (type !== body_type && body_type !== 'application/octet-stream') {
    throw badRequest(`expected content type "${body_type}", got "${type}"`)
  }
  if (schema === null) return body_type === 'application/octet-stream' ? bytes : null
  return body_type === 'application/json'
    ? readJson(schema, bytes)
    : readPairs(schema, bytes.toString('utf8'), 'unable to parse URL-encoded body: ')
}

function readJson(schema: TSchema, bytes: Buffer): unknown {
  try {
    const { value, text } = parseJson(bytes)
    const problem = problemOf(schema, value)
    if (problem === null) return canonical(schema, value)
    throw new JsonError(`${problem.words}${placeOf(text, problem.pointer)}`)
  } catch (error) {
    if (error instanceof JsonError) throw badRequest(`unable to parse JSON body: ${error.message}`)
    throw error
  }
}

/** Fields of text: a query or a form. Numbers are numbers where the schema says so. */
function readPairs(schema: TSchema, text: string, place: string): Record<string, unknown> {
  const pairs = new URLSearchParams(text)
  const values: Record<string, unknown> = {}
  for (const [key, field] of Type.IsObject(schema) ? Object.entries(schema.properties) : []) {
    const [given, ...more] = pairs.getAll(key)
    if (more.length > 0) throw badRequest(`${place}duplicate field \`${key}\``)
    if (given === undefined) continue
    values[key] = isInteger(field) ? numberOf(given, place) : given
  }
  const problem = problemOf(schema, values)
  if (problem !== null) throw badRequest(`${place}${problem.words}`)
  return Object(canonical(schema, values))
}

const isInteger = (schema: TSchema): boolean =>
  Type.IsUnion(schema) ? schema.anyOf.some(isInteger) : Type.IsInteger(schema)

function numberOf(text: string, place: string): number {
  if (text === '') throw badRequest(`${place}cannot parse integer from empty string`)
  if (!/^-?[0-9]+$/.test(text)) throw badRequest(`${place}invalid digit found in string`)
  return Number(text)
}
