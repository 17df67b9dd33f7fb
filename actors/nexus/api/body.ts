/** From bytes to checked values, with errors worded as Omicron's (serde's) are. */
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { badRequest } from '../errors.ts'

interface Problem {
  readonly keyword: string
  /** Where in the schema; alternatives are numbered there. */
  readonly schemaPath: string
  readonly instancePath: string
  readonly message: string
  readonly params: object
}
interface Checker {
  readonly Check: (value: unknown) => boolean
  readonly Errors: (value: unknown) => readonly Problem[]
}
const checkers = new WeakMap<TSchema, Checker>()

function checkerOf(schema: TSchema): Checker {
  const known = checkers.get(schema)
  if (known !== undefined) return known
  const made: Checker = Compile(schema)
  checkers.set(schema, made)
  return made
}

/** A JSON body that fits its schema. Throws 400 with what was wrong and where. */
export function readBody(schema: TSchema, contentType: string | null, bytes: Buffer): unknown {
  const type = (contentType ?? 'application/json').split(';')[0]?.trim().toLowerCase() ?? ''
  if (type !== 'application/json') {
    throw badRequest(`expected content type "application/json", got "${type}"`)
  }
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const why = error instanceof Error ? error.message : 'malformed'
    throw badRequest(
      `unable to parse JSON body: ${text === '' ? 'EOF while parsing a value at line 1 column 0' : why}`,
    )
  }
  const problem = firstProblem(schema, value)
  if (problem !== null) {
    throw badRequest(`unable to parse JSON body: ${describe(problem, value, text)}`)
  }
  return value
}

/** Query parameters that fit their schema. */
export function readQuery(schema: TSchema, value: unknown): unknown {
  const problem = firstProblem(schema, value)
  if (problem === null) return value
  throw badRequest(`unable to parse query string: ${describe(problem, value, null)}`)
}

/** The most telling problem: one inside the alternative that is meant says more than "none fits". */
function firstProblem(schema: TSchema, value: unknown): Problem | null {
  const checker = checkerOf(schema)
  if (checker.Check(value)) return null
  const problems = checker.Errors(value)
  const meant = problems.filter((problem) => !isOfAnotherVariant(problem, problems))
  const telling = meant.filter(({ keyword }) => keyword !== 'anyOf' && keyword !== 'const')
  const refined = telling.find(({ keyword }) => keyword === '~refine') ?? telling[0]
  if (refined !== undefined) return refined
  const constant = meant.find(({ keyword }) => keyword === 'const')
  const tag = problems.find(isTag)
  return allowing(problems, constant ?? tag ?? problems[0] ?? null)
}

const tagPath = '/properties/type'
const isTag = ({ keyword, schemaPath }: Problem) =>
  keyword === 'const' && schemaPath.endsWith(tagPath)

/** Whether a problem is of an alternative whose `type` is another than the value's. */
function isOfAnotherVariant(problem: Problem, all: readonly Problem[]): boolean {
  return all.some(
    (other) =>
      isTag(other) &&
      `${problem.schemaPath}/`.startsWith(`${other.schemaPath.slice(0, -tagPath.length)}/`),
  )
}

/** Of a value that must be one of several constants: all of them. */
function allowing(all: readonly Problem[], problem: Problem | null): Problem | null {
  if (problem?.keyword !== 'const') return problem
  const values = all
    .filter(
      ({ keyword, instancePath }) => keyword === 'const' && instancePath === problem.instancePath,
    )
    .flatMap(({ params }) => Object.values(params) as unknown[])
  const shown = [...new Set(values)].map((value) => `\`${String(value)}\``)
  const message = shown.length > 1 ? `one of ${shown.join(', ')}` : (shown[0] ?? '')
  return { ...problem, message }
}

function describe(problem: Problem, value: unknown, text: string | null): string {
  const at = valueAt(value, problem.instancePath)
  const words = wordsFor(problem, at)
  const place = text === null ? '' : placeOf(text, at)
  return `${words}${place}`
}

function wordsFor(problem: Problem, value: unknown): string {
  const field = problem.instancePath.split('/').at(-1) ?? ''
  switch (problem.keyword) {
    case '~refine':
      return problem.message
    case 'required': {
      const missing: unknown = Object.values(problem.params)[0]
      return `missing field \`${Array.isArray(missing) ? String(missing[0]) : ''}\``
    }
    case 'type':
      return `invalid type: ${kindOf(value)}, expected ${problem.message.replace('must be ', '')}${inField(field)}`
    case 'const':
      return typeof value === 'string'
        ? `unknown variant \`${value.slice(0, 64)}\`, expected ${problem.message}`
        : `invalid value: ${kindOf(value)}, expected ${problem.message}${inField(field)}`
    default:
      return `invalid value: ${kindOf(value)}: ${problem.message}${inField(field)}`
  }
}

const inField = (field: string) => (field === '' ? '' : ` for field \`${field}\``)

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

/** Where the offending text ends in the body, as serde counts: lines and columns from 1. */
function placeOf(text: string, value: unknown): string {
  const written = JSON.stringify(value)
  const start = written === undefined ? -1 : text.indexOf(written)
  const before = start < 0 ? text : text.slice(0, start + written.length)
  const lines = before.split('\n')
  return ` at line ${lines.length} column ${lines.at(-1)?.length ?? 0}`
}
