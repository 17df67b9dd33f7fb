/** IP pools and their ranges: where instances' external addresses come from. */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import { familyOf, sortKey, toNumber } from './addresses.ts'
import { byNameOrId, pageOf, pageQuery, readPage } from './api/pagination.ts'
import { route, type Call } from './api/route.ts'
import { demandFleet, powers } from './authz.ts'
import { newRow, type Services } from './context.ts'
import { alreadyExists, badRequest, invalidRequest, notFound, notFoundById } from './errors.ts'
import { identity, identityView, ipAddress, name, timestamp, updatedIdentity } from './names.ts'
import { isConflict } from './store/failure.ts'
import { listPage } from './store/page.ts'
import type { Tables } from './store/schema.ts'
import { transact } from './store/transact.ts'

type Pool = Selectable<Tables['ip_pool']>
type Range = Selectable<Tables['ip_pool_range']>
type Located = Pick<Call<unknown, unknown>, 'services' | 'path'>

const poolView = (row: Pool) => ({ ...identityView(row), project_id: row.project_id })
const rangeView = (row: Range) => ({
  id: row.id,
  time_created: timestamp(row.time_created_ms),
  range: { first: row.first_address, last: row.last_address },
})

async function poolOf({ services, path }: Located): Promise<Pool> {
  const pool = path('pool_name')
  const row = await services.store
    .selectFrom('ip_pool')
    .selectAll()
    .where('name', '=', pool)
    .where('rack_id', 'is', null)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('ip-pool', pool)
  return row
}

const optionalName = Type.Optional(Type.Union([name, Type.Null()]))
const rangeBody = Type.Object({ first: ipAddress, last: ipAddress })

/** Both of one family and in order; Omicron's words otherwise. */
function checkRange(range: { readonly first: string; readonly last: string }): void {
  if (familyOf(range.first) !== familyOf(range.last)) {
    throw badRequest(
      'unable to parse JSON body: data did not match any variant of untagged enum IpRange',
    )
  }
  if (toNumber(range.first) > toNumber(range.last)) {
    throw badRequest('unable to parse JSON body: IP address ranges must be non-decreasing')
  }
}

export const ipPoolRoutes = [
  route('GET /system/ip-pools', {
    query: pageQuery,
    handle: async ({ services, actor, query }) => {
      await demandFleet(services, actor, powers.viewer)
      return await listPage(
        services.store
          .selectFrom('ip_pool')
          .selectAll()
          .where('rack_id', 'is', null)
          .where('time_deleted_ms', 'is', null),
        query,
        byNameOrId,
        poolView,
      )
    },
  }),

  route('POST /system/ip-pools', {
    body: Type.Object({ ...identity, organization: optionalName, project: optionalName }),
    handle: async ({ services, actor, body }) => {
      await demandFleet(services, actor, powers.admin)
      const project_id = await restriction(services, body)
      const row = { ...newRow(services, body), project_id, rack_id: null }
      try {
        await services.store.insertInto('ip_pool').values(row).execute()
      } catch (error) {
        throw isConflict(error) ? alreadyExists('ip-pool', body.name) : error
      }
      return poolView(row)
    },
  }),

  route('GET /system/ip-pools/{pool_name}', {
    handle: async (call) => {
      await demandFleet(call.services, call.actor, powers.viewer)
      return poolView(await poolOf(call))
    },
  }),

  route('GET /system/by-id/ip-pools/{id}', {
    handle: async ({ services, actor, path }) => {
      await demandFleet(services, actor, powers.viewer)
      const row = await services.store
        .selectFrom('ip_pool')
        .selectAll()
        .where('id', '=', path('id'))
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (row === undefined) throw notFoundById('ip-pool', path('id'))
      return poolView(row)
    },
  }),

  route('PUT /system/ip-pools/{pool_name}', {
    body: Type.Object(updatedIdentity),
    handle: async (call) => {
      const { services, actor, body } = call
      await demandFleet(services, actor, powers.admin)
      const row = await poolOf(call)
      const changed = {
        name: body.name ?? row.name,
        description: body.description ?? row.description,
        time_modified_ms: services.clock.now(),
      }
      try {
        await services.store.updateTable('ip_pool').set(changed).where('id', '=', row.id).execute()
      } catch (error) {
        throw isConflict(error) ? alreadyExists('ip-pool', changed.name) : error
      }
      return poolView({ ...row, ...changed })
    },
  }),

  route('DELETE /system/ip-pools/{pool_name}', {
    handle: async (call) => {
      const { services, actor } = call
      await demandFleet(services, actor, powers.admin)
      const row = await poolOf(call)
      await transact(services, async (store) => {
        const range = await store
          .selectFrom('ip_pool_range')
          .select('id')
          .where('ip_pool_id', '=', row.id)
          .where('time_deleted_ms', 'is', null)
          .executeTakeFirst()
        if (range !== undefined) {
          throw invalidRequest('IP Pool cannot be deleted while it contains IP ranges')
        }
        await store
          .updateTable('ip_pool')
          .set({ time_deleted_ms: services.clock.now() })
          .where('id', '=', row.id)
          .execute()
      })
      return null
    },
  }),

  route('GET /system/ip-pools/{pool_name}/ranges', {
    query: Type.Omit(pageQuery, ['sort_by']),
    handle: async (call) => {
      const { services, actor, query } = call
      await demandFleet(services, actor, powers.viewer)
      const pool = await poolOf(call)
      const page = readPage(query, ['id_ascending'])
      const ranges = services.store
        .selectFrom('ip_pool_range')
        .selectAll()
        .where('ip_pool_id', '=', pool.id)
        .where('time_deleted_ms', 'is', null)
      const begun =
        page.after === null ? ranges : ranges.where('first_sort', '>', sortKey(page.after))
      const rows = await begun.orderBy('first_sort').limit(page.limit).execute()
      // Ranges are ordered by their first address: that is what a token remembers.
      const keyed = rows.map((row) => ({ id: row.first_address, row }))
      return pageOf(keyed, page, ['id_ascending'], ({ row }) => rangeView(row))
    },
  }),

  route('POST /system/ip-pools/{pool_name}/ranges/add', {
    body: rangeBody,
    handle: async (call) => {
      const { services, actor, body } = call
      checkRange(body)
      await demandFleet(services, actor, powers.admin)
      const pool = await poolOf(call)
      const row: Range = {
        id: services.random.uuid(),
        ip_pool_id: pool.id,
        first_address: body.first,
        last_address: body.last,
        first_sort: sortKey(body.first),
        last_sort: sortKey(body.last),
        time_created_ms: services.clock.now(),
        time_deleted_ms: null,
      }
      await transact(services, async (store) => {
        const overlapping = await store
          .selectFrom('ip_pool_range')
          .select('id')
          .where('first_sort', '<=', row.last_sort)
          .where('last_sort', '>=', row.first_sort)
          .where('time_deleted_ms', 'is', null)
          .executeTakeFirst()
        if (overlapping !== undefined) {
          throw invalidRequest(
            `The provided IP range ${body.first}-${body.last} overlaps with an existing range`,
          )
        }
        await store.insertInto('ip_pool_range').values(row).execute()
      })
      return rangeView(row)
    },
  }),

  route('POST /system/ip-pools/{pool_name}/ranges/remove', {
    status: 204,
    body: rangeBody,
    handle: async (call) => {
      const { services, actor, body } = call
      checkRange(body)
      await demandFleet(services, actor, powers.admin)
      const pool = await poolOf(call)
      await transact(services, async (store) => {
        const row = await store
          .selectFrom('ip_pool_range')
          .select('id')
          .where('ip_pool_id', '=', pool.id)
          .where('first_sort', '=', sortKey(body.first))
          .where('last_sort', '=', sortKey(body.last))
          .where('time_deleted_ms', 'is', null)
          .executeTakeFirst()
        if (row === undefined) {
          throw invalidRequest(`The provided range ${body.first}-${body.last} does not exist`)
        }
        const used = await store
          .selectFrom('external_ip')
          .select('id')
          .where('ip_pool_range_id', '=', row.id)
          .where('time_deleted_ms', 'is', null)
          .executeTakeFirst()
        if (used !== undefined) {
          throw invalidRequest(
            'IP pool ranges cannot be deleted while external IP addresses are allocated from them',
          )
        }
        await store
          .updateTable('ip_pool_range')
          .set({ time_deleted_ms: services.clock.now() })
          .where('id', '=', row.id)
          .execute()
      })
      return null
    },
  }),
]

/** The project a pool is kept for; null for everybody. Both names are given or neither. */
async function restriction(
  services: Services,
  given: { readonly organization?: string | null; readonly project?: string | null },
): Promise<string | null> {
  const { organization = null, project = null } = given
  if (organization === null && project === null) return null
  if (organization === null || project === null) {
    throw invalidRequest('Organization and project must be specified together')
  }
  const row = await services.store
    .selectFrom('project')
    .innerJoin('organization', 'organization.id', 'project.organization_id')
    .select('project.id')
    .where('organization.name', '=', organization)
    .where('project.name', '=', project)
    .where('organization.time_deleted_ms', 'is', null)
    .where('project.time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('project', project)
  return row.id
}
