/** What the codec needs to know of a schema, as TypeBox makes them. */
import type { TSchema } from 'typebox'
import { fits } from '../schema.ts'

/** The parts of a schema that matter here; TypeBox keeps the kind out of sight of JSON. */
export interface Shape {
  readonly '~kind'?: string
  readonly '~refine'?: unknown
  readonly const?: string | number | boolean
  readonly enum?: readonly (string | number)[]
  readonly anyOf?: readonly TSchema[]
  readonly items?: TSchema | readonly TSchema[]
  readonly minItems?: number
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, TSchema>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, TSchema>>
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
}

/** The commonest pattern of text. */
export const uuidPattern = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'

/** Whether a part of a schema takes anything: nothing bounds what reading that costs. */
export function isOpen(schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false
  const { '~kind': kind, '~refine': refine } = schema as Shape
  if ((kind === 'Unknown' || kind === 'Any') && refine === undefined) return true
  return Object.values(schema).some(isOpen)
}

const uncheckedWords: ReadonlySet<string> = new Set([
  ...['exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'format', 'uniqueItems', 'contains'],
  ...['minProperties', 'maxProperties', 'propertyNames', 'additionalProperties', 'not', 'allOf'],
])

/** A keyword of a schema that limits what fits, and that the codec does not look at. */
export const uncheckedWord = (schema: TSchema): string | undefined =>
  Object.keys(schema).find((word) => uncheckedWords.has(word))

/** A check in code is raw bytes (see `binary` of the actors' schemas), or nothing that messages can carry. */
export function kindOf(schema: TSchema): string {
  const { '~kind': kind = '', '~refine': refine } = schema as Shape
  if (refine === undefined) return kind
  return fits(schema, new Uint8Array(0)) && !fits(schema, 0) && !fits(schema, {})
    ? 'Bytes'
    : 'Refine'
}

export interface Field {
  readonly key: string
  readonly schema: TSchema
}

/** The fields of a tuple, by their index. */
export function tupleFields({ items }: Shape): readonly Field[] {
  return Array.isArray(items)
    ? items.map((schema: TSchema, index) => ({ key: String(index), schema }))
    : []
}

/** The fields of a record. Throws for one that may be absent; `path` names the record. */
export function objectFields(
  { properties = {}, required = [] }: Shape,
  path: string,
): readonly Field[] {
  return Object.entries(properties).map(([key, schema]) => {
    if (!required.includes(key)) {
      throw new Error(`schema at ${path}/${key}: optional; a message says null for what is absent`)
    }
    return { key, schema }
  })
}

/** The property by whose constant the variants can be told apart; null when there is none. */
export function tagOf(
  variants: readonly TSchema[],
): { readonly name: string; readonly values: readonly unknown[] } | null {
  const shapes = variants.map((variant) => variant as Shape)
  for (const name of Object.keys(shapes[0]?.properties ?? {})) {
    const tags = shapes.map((shape): Shape | undefined => shape.properties?.[name])
    const values = tags.map((tag) => tag?.const)
    const isTag = tags.every((tag) => tag?.['~kind'] === 'Literal')
    if (isTag && new Set(values).size === values.length) return { name, values }
  }
  return null
}
