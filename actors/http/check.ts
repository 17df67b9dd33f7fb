/** Checks values against schemas and says what is wrong with them, worded as Omicron's serde does. */
import type { TSchema } from 'typebox'
import { fits, wrongWith, type Found } from '#runtime/schema.ts'

export interface Problem {
  /** Where: a JSON pointer. */
  readonly pointer: string
  readonly words: string
}

/** The most telling thing that is wrong with a value; null when it fits. */
export function problemOf(schema: TSchema, value: unknown): Problem | null {
  if (fits(schema, value)) return null
  const found = wrongWith(schema, value)
  const telling = withoutOtherVariants(found)
  const chosen = telling.find(({ keyword }) => keyword === '~refine') ?? telling[0]
  if (chosen !== undefined) {
    const pointer = chosen.instancePath
    return { pointer, words: wordsFor(chosen, valueAt(value, pointer)) }
  }
  const variant = found.find(isVariant)
  if (variant === undefined) return { pointer: '', words: 'invalid value' }
  const pointer = variant.instancePath
  const known = found.filter((other) => isVariant(other) && other.instancePath === pointer)
  const names = known.map(({ params }) => `\`${String(Object.values(params)[0])}\``)
  return { pointer, words: `${variantWords(valueAt(value, pointer))}, expected ${oneOf(names)}` }
}

const isVariant = ({ keyword }: Found) => keyword === 'const'

/** What is wrong in the alternative whose tag was given; the others do not matter. */
function withoutOtherVariants(found: readonly Found[]): readonly Found[] {
  const others = found.filter(isVariant).map(({ schemaPath }) => variantOf(schemaPath))
  return found.filter(
    ({ keyword, schemaPath }) =>
      keyword !== 'anyOf' &&
      keyword !== 'const' &&
      !others.some((other) => `${schemaPath}/`.startsWith(`${other}/`)),
  )
}

const variantOf = (schemaPath: string) => schemaPath.replace(/(.*\/anyOf\/[0-9]+).*/, '$1')
const oneOf = (names: readonly string[]) =>
  names.length === 1 ? String(names[0]) : `one of ${names.join(', ')}`

function wordsFor(found: Found, value: unknown): string {
  const field = found.instancePath.split('/').at(-1) ?? ''
  switch (found.keyword) {
    case '~refine':
      return found.message
    case 'required': {
      const missing: unknown = Object.values(found.params)[0]
      return `missing field \`${Array.isArray(missing) ? String(missing[0]) : ''}\``
    }
    case 'type':
      return `invalid type: ${kindOf(value)}, expected ${found.message.replace('must be ', '')}${inField(field)}`
    case 'enum':
      return `${variantWords(value)}, expected ${variantsOf(found)}${inField(field)}`
    default:
      return `invalid value: ${kindOf(value)}: ${found.message}${inField(field)}`
  }
}

const inField = (field: string) => (field === '' ? '' : ` for field \`${field}\``)
const variantWords = (value: unknown) =>
  typeof value === 'string'
    ? `unknown variant \`${value.slice(0, 64)}\``
    : `invalid value: ${kindOf(value)}`

function variantsOf(found: Found): string {
  const allowed: unknown = Object.values(found.params)[0]
  if (!Array.isArray(allowed)) return 'another'
  return oneOf(allowed.map((variant) => `\`${String(variant)}\``))
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'sequence'
  if (typeof value === 'string') return `string ${JSON.stringify(value.slice(0, 64))}`
  if (typeof value === 'object') return 'map'
  return `${typeof value} \`${JSON.stringify(value)}\``
}

function valueAt(value: unknown, path: string): unknown {
  let at = value
  for (const part of path.split('/').slice(1)) {
    if (typeof at !== 'object' || at === null) return undefined
    at = Object.getOwnPropertyDescriptor(at, part)?.value
  }
  return at
}
