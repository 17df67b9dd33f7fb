/** Finds what a path names, and checks the caller's power over it: absent, forbidden, or there. */
import { sql, type Selectable } from 'kysely'
import {
  assignedPower,
  demand,
  organizationPower,
  powers,
  projectPower,
  type Power,
} from './access/authz.ts'
import type { Actor, Services } from './context.ts'
import { notFound, notFoundById } from '#actors/http/errors.ts'
import { prepare } from './store/prepare.ts'
import type { Store, StoreTransaction, Tables } from './store/schema.ts'

export type Organization = Selectable<Tables['organization']>
export type Project = Selectable<Tables['project']>

interface Caller {
  readonly services: Services
  readonly actor: Actor
}
interface Located extends Caller {
  readonly path: (name: string) => string
}

type Wanted<K extends string> = Readonly<Record<'silo_id' | 'user_id' | K, string>>

/** Organizations of the caller's silo, each with the caller's roles. */
const organizations = (store: Store, { silo_id, user_id }: Wanted<never>) =>
  store
    .selectFrom('organization')
    .selectAll('organization')
    .select([
      assignedPower(user_id, 'silo', silo_id).as('silo_power'),
      assignedPower(user_id, 'organization', sql.ref('organization.id')).as('organization_power'),
    ])
    .where('silo_id', '=', silo_id)

const organizationNamed = prepare((store: Store, wanted: Wanted<'name'>) =>
  organizations(store, wanted).where('name', '=', wanted.name).where('time_deleted_ms', 'is', null),
)
const organizationWithId = prepare((store: Store, wanted: Wanted<'id'>) =>
  organizations(store, wanted).where('id', '=', wanted.id).where('time_deleted_ms', 'is', null),
)

/** A live organization of the caller's silo, and the caller's power over it. Throws 404. */
async function organizationOfPath({ services, actor, path }: Located) {
  const name = path('organization_name')
  const { silo_id, user_id } = actor
  const [row] = await organizationNamed(services.store, { silo_id, user_id, name })
  if (row === undefined) throw notFound('organization', name)
  return { row, power: organizationPower(row) }
}

/** The organization of the path's `{organization_name}`. */
export async function organizationOf(call: Located, needed: Power): Promise<Organization> {
  const { row, power } = await organizationOfPath(call)
  if (power === powers.none) throw notFound('organization', row.name)
  demand(power, needed)
  return row
}

/** The organization of this id, for those who may read it. Throws 404. */
export async function organizationById(
  { services, actor }: Caller,
  id: string,
): Promise<Organization> {
  const { silo_id, user_id } = actor
  const [row] = await organizationWithId(services.store, { silo_id, user_id, id })
  if (row === undefined || organizationPower(row) === powers.none) {
    throw notFoundById('organization', id)
  }
  return row
}

/** Projects, each with the caller's roles on it and on what it is in. */
const projects = (store: Store, { silo_id, user_id }: Wanted<never>) =>
  store
    .selectFrom('project')
    .selectAll('project')
    .select([
      assignedPower(user_id, 'silo', silo_id).as('silo_power'),
      assignedPower(user_id, 'organization', sql.ref('project.organization_id')).as(
        'organization_power',
      ),
      assignedPower(user_id, 'project', sql.ref('project.id')).as('project_power'),
    ])

// Neither is a join: SQLite would plan one anew for every value.
const projectNamed = prepare((store: Store, wanted: Wanted<'organization_name' | 'name'>) =>
  projects(store, wanted)
    .where('organization_id', '=', organizationIdOf(store, wanted))
    .where('name', '=', wanted.name)
    .where('time_deleted_ms', 'is', null),
)
const projectWithId = prepare((store: Store, wanted: Wanted<'id'>) =>
  projects(store, wanted)
    .where('id', '=', wanted.id)
    .where('organization_id', 'in', (from) =>
      from
        .selectFrom('organization')
        .select('organization.id')
        .whereRef('organization.id', '=', 'project.organization_id')
        .where('silo_id', '=', wanted.silo_id),
    ),
)

/** What a path says of the project that something is in. */
export interface ProjectNames {
  readonly silo_id: string
  readonly organization_name: string
  readonly project_name: string
}
export const projectNames = ({ actor, path }: Located): ProjectNames => ({
  silo_id: actor.silo_id,
  organization_name: path('organization_name'),
  project_name: path('project_name'),
})

/**
 * The id of that project, for a statement that asks for something in it: it need not wait for `projectOf`,
 * which says whether the caller is told.
 */
export const projectIdOf = (store: Store | StoreTransaction, names: ProjectNames) =>
  store
    .selectFrom('project')
    .select('project.id')
    .where('organization_id', '=', organizationIdOf(store, names))
    .where('project.name', '=', names.project_name)
    .where('project.time_deleted_ms', 'is', null)

const organizationIdOf = (
  store: Store | StoreTransaction,
  { silo_id, organization_name }: Omit<ProjectNames, 'project_name'>,
) =>
  store
    .selectFrom('organization')
    .select('organization.id')
    .where('silo_id', '=', silo_id)
    .where('organization.name', '=', organization_name)
    .where('organization.time_deleted_ms', 'is', null)

/** The project of the path's `{organization_name}` and `{project_name}`. */
export async function projectOf(call: Located, needed: Power): Promise<Project> {
  const { services, actor, path } = call
  const name = path('project_name')
  const organization_name = path('organization_name')
  const { silo_id, user_id } = actor
  const wanted = { silo_id, user_id, organization_name, name }
  const [row] = await projectNamed(services.store, wanted)
  if (row === undefined) {
    // Only a reader of the organization may learn what it does not hold.
    const { power } = await organizationOfPath(call)
    throw power === powers.none
      ? notFound('organization', organization_name)
      : notFound('project', name)
  }
  const power = projectPower(row)
  if (power === powers.none) throw notFound('organization', organization_name)
  demand(power, needed)
  return row
}

/**
 * Checks the caller's power over the project that something belongs to; to those who may not read
 * the project the thing itself is absent.
 */
export async function demandProject(
  { services, actor: { silo_id, user_id } }: Caller,
  what: { readonly type: string; readonly id: string; readonly project_id: string },
  needed: Power,
): Promise<Project> {
  const wanted = { silo_id, user_id, id: what.project_id }
  const [row] = await projectWithId(services.store, wanted)
  if (row === undefined) throw notFoundById(what.type, what.id)
  const power = projectPower(row)
  if (power === powers.none) throw notFoundById(what.type, what.id)
  demand(power, needed)
  return row
}

type Container = 'silo' | 'organization' | 'project' | 'vpc' | 'vpc_router'
const liveIn = (table: Container) =>
  prepare((store, { id }: { readonly id: string }) =>
    store.selectFrom(table).select('id').where('id', '=', id).where('time_deleted_ms', 'is', null),
  )
const liveRows = {
  silo: liveIn('silo'),
  organization: liveIn('organization'),
  project: liveIn('project'),
  vpc: liveIn('vpc'),
  vpc_router: liveIn('vpc_router'),
} as const

/**
 * Sees, within the transaction that puts something into it, that a container is still there: who
 * deletes it looks whether it is empty, and of the two one comes first. Throws 404 when it has gone.
 */
export async function demandLive(
  store: StoreTransaction,
  table: Container,
  { id, name }: { readonly id: string; readonly name: string | null },
): Promise<void> {
  const [row] = await liveRows[table](store, { id })
  const type = table.replaceAll('_', '-')
  if (row === undefined) throw name === null ? notFoundById(type, id) : notFound(type, name)
}
