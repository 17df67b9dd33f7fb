/** Making, editing and deleting things that have a name and a description and little else. */
import { err, ok, type Result } from '#runtime/result.ts'
import {
  confirmFlag,
  descriptionFlag,
  done,
  type Flag,
  type Input,
  type Outcome,
  type Verb,
} from './command.ts'
import { begin, objectPath, scopeFlags, scopeOrAsk, type Kind, type Scope } from './crud.ts'
import { confirm, textOrAsk, type Session } from './session.ts'
import { textOf, type Fields } from './value.ts'

/** What every new thing needs. */
export interface Naming {
  readonly scope: Scope
  readonly name: string
  readonly description: string
}

/** Name, place and description, asked for where a person can answer. */
export async function namingOf(
  session: Session,
  kind: Kind,
  input: Input,
): Promise<Result<Naming, 'failed'>> {
  const noun = kind.label.replace(' ', '-').toLowerCase()
  const name = await textOrAsk(session, input.text('name'), `${kind.label} name:`, `[${noun}]`)
  if (!name.ok) return name
  const scope = await scopeOrAsk(session, kind, input)
  if (!scope.ok) return scope
  const description = await textOrAsk(
    session,
    input.text('description'),
    `${kind.label} description:`,
    '-D|--description',
  )
  if (!description.ok) return description
  return ok({ scope: scope.value, name: name.value, description: description.value })
}

/** How a new or lost object is spoken of: `project myorg/myproj`, `disk d in myorg/myproj`. */
function spoken(kind: Kind, scope: Scope, name: string, preposition: string): string {
  if (kind.scope === 'project') {
    return `${kind.label} ${name} ${preposition} ${scope.organization}/${scope.project}`
  }
  return kind.scope === 'organization'
    ? `${kind.label} ${scope.organization}/${name}`
    : `${kind.label} ${name}`
}

/** What a kind needs beyond a name when it is made. */
export interface Extra {
  readonly flags: readonly Flag[]
  readonly body: (
    session: Session,
    input: Input,
    naming: Naming,
  ) => Promise<Result<Fields, 'usage' | 'failed'>>
}
const noExtra: Extra = { flags: [], body: async () => ok({}) }

/** `create`. */
export function createVerb(kind: Kind, extra: Extra = noExtra): Verb {
  return {
    name: 'create',
    summary: `make ${article(kind.label)}`,
    args: [{ name: 'name', summary: 'its name', optional: true }],
    flags: [...scopeFlags(kind), descriptionFlag, ...extra.flags],
    run: async (session, input) => {
      const naming = await namingOf(session, kind, input)
      if (!naming.ok) return naming
      const { scope, name, description } = naming.value
      const more = await extra.body(session, input, naming.value)
      if (!more.ok) return more
      const client = session.client()
      if (!client.ok) return client
      const body = { name, description, ...more.value }
      const made = await client.value.call('POST', kind.collection(scope), body)
      if (!made.ok) return made
      await session.say(`${session.paint.green('✔')} Created ${spoken(kind, scope, name, 'in')}`)
      return done
    },
  }
}

/** `edit`. */
export function editVerb(kind: Kind): Verb {
  return {
    name: 'edit',
    summary: `change the name or description of ${article(kind.label)}`,
    args: [{ name: 'name', summary: 'its name now' }],
    flags: [
      ...scopeFlags(kind),
      { flags: '-n, --new-name <name>', summary: 'its new name' },
      descriptionFlag,
    ],
    run: async (session, input) => {
      const name = input.text('name') ?? ''
      const renamed = input.text('new-name')
      const description = input.text('description')
      if (renamed === null && description === null) {
        return err('usage', 'nothing to edit: give --new-name or --description')
      }
      const started = begin(session, kind, input)
      if (!started.ok) return started
      const { client, scope } = started.value
      const body = {
        ...(renamed === null ? {} : { name: renamed }),
        ...(description === null ? {} : { description }),
      }
      const edited = await client.call('PUT', objectPath(kind, scope, name), body)
      if (!edited.ok) return edited
      const now = textOf(edited.value, 'name') ?? renamed ?? name
      const what = spoken(kind, scope, name, 'in')
      const change = now === name ? '' : ` -> ${now}`
      await session.say(`${session.paint.green('✔')} Edited ${what}${change}`)
      return done
    },
  }
}

/** `delete`. */
export function deleteVerb(kind: Kind): Verb {
  return {
    name: 'delete',
    summary: `delete ${article(kind.label)}`,
    args: [{ name: 'name', summary: 'its name' }],
    flags: [...scopeFlags(kind), confirmFlag],
    run: async (session, input) => await remove(session, kind, input),
  }
}

async function remove(session: Session, kind: Kind, input: Input): Promise<Outcome> {
  const name = input.text('name') ?? ''
  const agreed = await confirm(session, input, name, 'deletion')
  if (!agreed.ok) return agreed
  const started = begin(session, kind, input)
  if (!started.ok) return started
  const { client, scope } = started.value
  const deleted = await client.call('DELETE', objectPath({ ...kind, byId: null }, scope, name))
  if (!deleted.ok) return deleted
  await session.say(`${session.paint.red('✔')} Deleted ${spoken(kind, scope, name, 'from')}`)
  return done
}

const article = (label: string): string =>
  /^[aeiou]|^SSH/.test(label) ? `an ${label}` : `a ${label}`
