/** One spelling of what may be written in several: UUIDs, which the store has in lower case. */
import { Type, type TSchema } from 'typebox'
import { problemOf } from './check.ts'
import { documentWordsOf } from './words.ts'

type Rewrite = (value: unknown) => unknown

const rewrites = new WeakMap<TSchema, Rewrite | null>()

/** A value that fits a schema, with every UUID of it in lower case. */
export function canonical(schema: TSchema, value: unknown): unknown {
  return rewriteOf(schema)?.(value) ?? value
}

/** What a schema's values go through; null when there is nothing to rewrite in them. */
function rewriteOf(schema: TSchema): Rewrite | null {
  const known = rewrites.get(schema)
  if (known !== undefined) return known
  const made = makeRewrite(schema)
  rewrites.set(schema, made)
  return made
}

function makeRewrite(schema: TSchema): Rewrite | null {
  if (documentWordsOf(schema)['format'] === 'uuid') return (value) => String(value).toLowerCase()
  if (Type.IsArray(schema)) return ofItems(rewriteOf(schema.items))
  if (Type.IsUnion(schema)) return ofVariants(schema.anyOf)
  return Type.IsObject(schema) ? ofFields(schema.properties) : null
}

const ofItems = (item: Rewrite | null): Rewrite | null =>
  item === null ? null : (value) => (Array.isArray(value) ? value.map(item) : value)

function ofVariants(variants: readonly TSchema[]): Rewrite | null {
  if (variants.every((variant) => rewriteOf(variant) === null)) return null
  return (value) => {
    const meant = variants.find((variant) => problemOf(variant, value) === null)
    return meant === undefined ? value : canonical(meant, value)
  }
}

function ofFields(properties: Readonly<Record<string, TSchema>>): Rewrite | null {
  const fields = Object.entries(properties).flatMap(([name, field]) => {
    const rewrite = rewriteOf(field)
    return rewrite === null ? [] : [[name, rewrite] as const]
  })
  if (fields.length === 0) return null
  return (value) => {
    const given = new Map(Object.entries(Object(value)))
    const changed = fields.filter(([name]) => given.has(name))
    return {
      ...Object(value),
      ...Object.fromEntries(changed.map(([name, rewrite]) => [name, rewrite(given.get(name))])),
    }
  }
}
