/** Finds what a path names, and checks the caller's power over it: absent, forbidden, or there. */
import type { Selectable } from 'kysely'
import { organizationPower, powers, projectPower, demand, type Power } from './access/authz.ts'
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

/** A live organization of the caller's silo, whatever the caller may do with it. */
async function organizationNamed({ services, actor, path }: Located): Promise<Organization> {
  const name = path('organization_name')
  const row = await services.store
    .selectFrom('organization')
    .selectAll()
    .where('silo_id', '=', actor.silo_id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('organization', name)
  return row
}

/** The organization of the path's `{organization_name}`. */
export async function organizationOf(call: Located, needed: Power): Promise<Organization> {
  const row = await organizationNamed(call)
  const power = await organizationPower(call.services, call.actor, row.id)
  if (power === powers.none) throw notFound('organization', row.name)
  demand(power, needed)
  return row
}

const projectNamed = prepare(
  (
    store: Store,
    { silo_id, organization_name, name }: Record<'silo_id' | 'organization_name' | 'name', string>,
  ) =>
    store
      .selectFrom('project')
      .selectAll()
      // Not a join: SQLite would plan one anew for every value.
      .where('organization_id', '=', (from) =>
        from
          .selectFrom('organization')
          .select('organization.id')
          .where('silo_id', '=', silo_id)
          .where('organization.name', '=', organization_name)
          .where('organization.time_deleted_ms', 'is', null),
      )
      .where('name', '=', name)
      .where('time_deleted_ms', 'is', null),
)

/** The project of the path's `{organization_name}` and `{project_name}`. */
export async function projectOf(call: Located, needed: Power): Promise<Project> {
  const { services, actor } = call
  const name = call.path('project_name')
  const [row] = await projectNamed(services.store, {
    silo_id: actor.silo_id,
    organization_name: call.path('organization_name'),
    name,
  })
  if (row === undefined) {
    const organization = await organizationNamed(call)
    // Only a reader of the organization may learn what it does not hold.
    const power = await organizationPower(services, actor, organization.id)
    throw power === powers.none
      ? notFound('organization', organization.name)
      : notFound('project', name)
  }
  const power = await projectPower(services, actor, {
    organization_id: row.organization_id,
    project_id: row.id,
  })
  if (power === powers.none) throw notFound('organization', call.path('organization_name'))
  demand(power, needed)
  return row
}

/**
 * Checks the caller's power over the project that something belongs to; to those who may not read
 * the project the thing itself is absent.
 */
export async function demandProject(
  { services, actor }: Caller,
  what: { readonly type: string; readonly id: string; readonly project_id: string },
  needed: Power,
): Promise<Project> {
  const absent = notFoundById(what.type, what.id)
  const row = await services.store
    .selectFrom('project')
    .innerJoin('organization', 'organization.id', 'project.organization_id')
    .selectAll('project')
    .where('project.id', '=', what.project_id)
    .where('organization.silo_id', '=', actor.silo_id)
    .executeTakeFirst()
  if (row === undefined) throw absent
  const power = await projectPower(services, actor, {
    organization_id: row.organization_id,
    project_id: row.id,
  })
  if (power === powers.none) throw absent
  demand(power, needed)
  return row
}

/**
 * Sees, within the transaction that puts something into it, that a container is still there: who
 * deletes it looks whether it is empty, and of the two one comes first. Throws 404 when it has gone.
 */
export async function demandLive(
  store: StoreTransaction,
  table: 'silo' | 'organization' | 'project' | 'vpc' | 'vpc_router',
  { id, name }: { readonly id: string; readonly name: string | null },
): Promise<void> {
  const row = await store
    .selectFrom(table)
    .select('id')
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  const type = table.replaceAll('_', '-')
  if (row === undefined) throw name === null ? notFoundById(type, id) : notFound(type, name)
}
