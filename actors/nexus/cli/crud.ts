/** The verbs that nouns have in common: list, view, and where an object is. */
import { err, ok, type Result } from '#runtime/result.ts'
import { path, type Client } from './client.ts'
import {
  formatFlag,
  integer,
  organizationFlag,
  projectFlag,
  type Failed,
  type Flag,
  type Input,
  type Verb,
} from './command.ts'
import { printMany, printOne, textOrAsk, type Session } from './session.ts'

const listMax = 2 ** 32 - 1
const listDefault = '30'

/** How a list endpoint sorts: the first is what it does unasked. */
export const byName = ['name_ascending'] as const
export const byNameOrId = ['name_ascending', 'name_descending', 'id_ascending'] as const
export const byId = ['id_ascending'] as const

/** What a noun's objects look like and where the API keeps them. */
export interface Kind {
  /** As it is said to people: `disk`, `SSH key`. */
  readonly label: string
  readonly labels: string
  readonly columns: readonly string[]
  readonly sorts: readonly string[]
  readonly scope: 'none' | 'organization' | 'project'
  /** The collection's path, from the names in `scope`. */
  readonly collection: (scope: Scope) => string
  /** Where an object is by its id; null when its name is its id. */
  readonly byId: string | null
}

export interface Scope {
  readonly organization: string
  readonly project: string
}

/** The flags that say where. */
export function scopeFlags(kind: Kind): readonly Flag[] {
  if (kind.scope === 'none') return []
  return kind.scope === 'organization' ? [organizationFlag] : [organizationFlag, projectFlag]
}

/** Reads -o and -p, as far as the kind needs them. */
export function scopeOf(kind: Kind, input: Input): Result<Scope, 'usage'> {
  const organization = input.text('organization')
  const project = input.text('project')
  if (kind.scope !== 'none' && organization === null) {
    return err('usage', '-o|--organization required: name it, or set OXIDE_ORG')
  }
  if (kind.scope === 'project' && project === null) return err('usage', '-p|--project required')
  return ok({ organization: organization ?? '', project: project ?? '' })
}

/** As `scopeOf`, for commands that make something: a person is asked for what is missing. */
export async function scopeOrAsk(
  session: Session,
  kind: Kind,
  input: Input,
): Promise<Result<Scope, 'failed'>> {
  const scope = { organization: '', project: '' }
  for (const [name, letter] of [
    ['organization', 'o'],
    ['project', 'p'],
  ] as const) {
    if (kind.scope === 'none' || (kind.scope === 'organization' && name === 'project')) continue
    const text = await textOrAsk(
      session,
      input.text(name),
      `${kind.label} ${name}:`,
      `-${letter}|--${name}`,
    )
    if (!text.ok) return text
    scope[name] = text.value
  }
  return ok(scope)
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Whether a text is an id: names may not look like one. */
export const isId = (text: string): boolean => uuid.test(text)

/** The path of one object, by name in its collection or by id wherever it is. */
export function objectPath(kind: Kind, scope: Scope, name: string): string {
  if (kind.byId !== null && isId(name)) return kind.byId + path`/${name}`
  return kind.collection(scope) + path`/${name}`
}

/** The scope and the client, which nearly every command begins with. */
export function begin(
  session: Session,
  kind: Kind,
  input: Input,
): Result<{ readonly scope: Scope; readonly client: Client }, Failed> {
  const scope = scopeOf(kind, input)
  if (!scope.ok) return scope
  const client = session.client()
  return client.ok ? ok({ scope: scope.value, client: client.value }) : client
}

/** `list`. */
export function listVerb(kind: Kind): Verb {
  return {
    name: 'list',
    summary: `list ${kind.labels}`,
    flags: [
      ...scopeFlags(kind),
      { flags: '-s, --sort-by <order>', summary: 'the order', choices: kind.sorts },
      { flags: '-l, --limit <count>', summary: `how many at most (${listDefault})` },
      { flags: '--paginate', summary: 'fetch page after page, to the end' },
      formatFlag,
    ],
    run: async (session, input) => {
      const limit = integer('limit', input.text('limit') ?? listDefault, { min: 0, max: listMax })
      if (!limit.ok) return limit
      if (limit.value === 0) return err('failed', '--limit must be greater than 0')
      const started = begin(session, kind, input)
      if (!started.ok) return started
      const { client, scope } = started.value
      const rows = await client.list(kind.collection(scope), {
        limit: limit.value,
        sort_by: input.text('sort-by'),
        all: input.has('paginate'),
      })
      return rows.ok ? await printMany(session, input, kind.columns, rows.value) : rows
    },
  }
}

/** `view`. */
export function viewVerb(kind: Kind): Verb {
  return {
    name: 'view',
    summary: `show one ${kind.label}`,
    args: [{ name: 'name', summary: kind.byId === null ? 'its name' : 'its name or id' }],
    flags: [...scopeFlags(kind), formatFlag],
    run: async (session, input) => {
      const name = input.text('name') ?? ''
      // An id says where the object is by itself.
      const isLocated = kind.byId !== null && isId(name)
      const started = begin(session, isLocated ? { ...kind, scope: 'none' } : kind, input)
      if (!started.ok) return started
      const { client, scope } = started.value
      const found = await client.call('GET', objectPath(kind, scope, name))
      return found.ok ? await printOne(session, input, kind.columns, found.value) : found
    },
  }
}
