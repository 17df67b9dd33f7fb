/** The OpenAPI 3.0.3 document of a face's operations, made from their rows. */
import { Type, type TSchema } from 'typebox'
import type { Operation } from './operation.ts'
import { componentOf, documentWordsOf, errorBody } from './words.ts'
import type { Route } from './route.ts'

type Json = Readonly<Record<string, unknown>>

/** What a document says of its API as a whole. */
export interface About {
  readonly title: string
  readonly description: string
  /** Null: its operations have none. */
  readonly tags: Readonly<Record<string, string>> | null
}
type Documented = Pick<Route<never>, 'id' | 'operation'>

/** The whole document; `routes` in any order. */
export function documentOf(routes: readonly Documented[], about: About): Json {
  const components = new Map<string, Json>()
  const show = shower(components)
  const paths: Record<string, Record<string, Json>> = {}
  for (const { id, operation } of routes.toSorted(byPath)) {
    const path = (paths[operation.path] ??= {})
    path[operation.method.toLowerCase()] = entryOf(id, operation, show)
  }
  const error = { description: 'Error', content: json(show(errorBody)) }
  return {
    openapi: '3.0.3',
    info: { title: about.title, description: about.description, version: '0.0.1' },
    paths,
    components: {
      responses: { Error: error },
      schemas: Object.fromEntries([...components].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    },
    ...(about.tags === null
      ? {}
      : { tags: Object.entries(about.tags).map(([name, description]) => ({ name, description })) }),
  }
}

const byPath = (a: { operation: Operation }, b: { operation: Operation }) =>
  a.operation.path < b.operation.path ? -1 : 1

type Show = (schema: TSchema) => Json

function entryOf(id: string, operation: Operation, show: Show): Json {
  const { tag, summary, body, body_type, page, reply } = operation
  const isBytes = body_type === 'application/octet-stream'
  const bodySchema = isBytes
    ? { type: 'string', format: 'binary' }
    : body === null
      ? null
      : show(body)
  return {
    ...(tag === null ? {} : { tags: [tag] }),
    summary,
    operationId: id,
    ...parametersOf(operation, show),
    ...(bodySchema === null
      ? {}
      : { requestBody: { content: { [body_type]: { schema: bodySchema } }, required: true } }),
    responses: responsesOf(operation, show),
    ...(page === null ? {} : { 'x-dropshot-pagination': true }),
    ...(reply === 'websocket' ? { 'x-dropshot-websocket': {} } : {}),
  }
}

function parametersOf({ path_parts, query }: Operation, show: Show): Json {
  const parameters = [
    ...Object.entries(path_parts).map(([name, schema]) => ({
      in: 'path',
      name,
      required: true,
      schema: show(schema),
      style: 'simple',
    })),
    ...Object.entries(query.properties).map(([name, schema]) => ({
      in: 'query',
      name,
      schema: show(schema),
      style: 'form',
    })),
  ]
  return parameters.length === 0 ? {} : { parameters }
}

const anything: Json = { '*/*': { schema: {} } }
const json = (schema: Json): Json => ({ 'application/json': { schema } })

function responsesOf({ reply, status }: Operation, show: Show): Json {
  if (reply === 'free' || reply === 'websocket') {
    return { default: { description: '', content: anything } }
  }
  const error = { $ref: '#/components/responses/Error' }
  return { [status]: success(reply, status, show), '4XX': error, '5XX': error }
}

const descriptions: Readonly<Record<number, string>> = {
  200: 'successful operation',
  201: 'successful creation',
  202: 'successfully enqueued operation',
  204: 'successful operation with no content',
  302: 'redirect (found)',
  303: 'redirect (see other)',
}

function success(
  reply: TSchema | 'nothing' | 'redirect' | 'bytes',
  status: number,
  show: Show,
): Json {
  if (reply === 'bytes') return { description: '', content: anything }
  const description = descriptions[status] ?? ''
  if (reply === 'nothing') return { description }
  if (reply !== 'redirect') return { description, content: json(show(reply)) }
  const location = {
    description: 'HTTP "Location" header',
    style: 'simple',
    required: true,
    schema: { type: 'string' },
  }
  return { description, headers: { location } }
}

/** Shows schemas as OpenAPI 3.0.3 has them, and collects the components among them. */
function shower(components: Map<string, Json>): Show {
  const show: Show = (schema) => {
    const component = componentOf(schema)
    if (component === null) return plain(schema)
    if (!components.has(component)) {
      components.set(component, {})
      components.set(component, plain(schema))
    }
    const ref = { $ref: `#/components/schemas/${component}` }
    // Beside a reference nothing counts, so what is said of this very place wraps it.
    return 'default' in schema ? { default: schema.default, allOf: [ref] } : ref
  }
  const plain = (schema: TSchema): Json => {
    const words = wordsOf(schema)
    if (Type.IsUnion(schema)) return showUnion(schema.anyOf, words, show)
    if (Type.IsObject(schema)) return { ...words, type: 'object', ...showFields(schema, show) }
    if (Type.IsArray(schema)) return { ...words, type: 'array', items: show(schema.items) }
    if (Type.IsLiteral(schema)) return { type: typeof schema.const, enum: [schema.const] }
    if (!Type.IsEnum(schema)) return words
    const type = typeof schema.enum[0] === 'number' ? 'integer' : 'string'
    return { ...words, type, enum: schema.enum }
  }
  return show
}

function showUnion(anyOf: readonly TSchema[], words: Json, show: Show): Json {
  const [first, ...others] = anyOf.filter((one) => !Type.IsNull(one))
  if (first !== undefined && others.length === 0 && anyOf.length > 1) {
    const shown = show(first)
    return '$ref' in shown ? { nullable: true, allOf: [shown] } : { nullable: true, ...shown }
  }
  return { ...words, oneOf: anyOf.map(show) }
}

function showFields(schema: Type.TObject, show: Show): Json {
  const fields = Object.entries(schema.properties)
  if (fields.length === 0) return {}
  const required = fields.filter(([, field]) => !Type.IsOptional(field)).map(([name]) => name)
  const properties = Object.fromEntries(fields.map(([name, field]) => [name, show(field)]))
  return required.length === 0 ? { properties } : { properties, required: required.toSorted() }
}

/** The keywords that the schema has for the document, without those that hold other schemas. */
function wordsOf(schema: TSchema): Json {
  const hidden = ['component', 'document', 'anyOf', 'properties', 'required', 'items', 'enum']
  // A component's default is of the place that it is used in.
  if (componentOf(schema) !== null) hidden.push('default')
  const words = Object.entries(schema).filter(([keyword]) => !hidden.includes(keyword))
  return { ...Object.fromEntries(words), ...documentWordsOf(schema) }
}
