/**
 * Routers of a VPC and their routes, as users see and change them. They are kept only: what guests
 * reach is decided by their subnets, external addresses and firewall rules.
 */
import type { Selectable } from 'kysely'
import { routeDestination, routeTarget } from '../api/contract/vpcs.ts'
import { implement, type UserCall } from '../api/route.ts'
import { powers, type Power } from '../access/authz.ts'
import { newRow } from '../context.ts'
import { alreadyExists, notAllowed, notFound, notFoundById } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import { changesOf, identityView } from '../names.ts'
import { readColumn } from '../store/column.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { demandVpc, vpcOf } from './vpcs.ts'

type Router = Selectable<Tables['vpc_router']>
type Route = Selectable<Tables['router_route']>

async function routerOf(call: UserCall, needed: Power): Promise<Router> {
  const vpc = await vpcOf(call, needed)
  const name = call.path('router_name')
  const row = await call.services.store
    .selectFrom('vpc_router')
    .selectAll()
    .where('vpc_id', '=', vpc.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('vpc-router', name)
  return row
}

async function routeOf(call: UserCall, needed: Power): Promise<Route> {
  const router = await routerOf(call, needed)
  const name = call.path('route_name')
  const row = await call.services.store
    .selectFrom('router_route')
    .selectAll()
    .where('vpc_router_id', '=', router.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('router-route', name)
  return row
}

/** A live router by its id; undefined when there is none. */
const routerById = async (call: UserCall, id: string) =>
  await call.services.store
    .selectFrom('vpc_router')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()

const routerView = (row: Router) => ({ ...identityView(row), kind: row.kind, vpc_id: row.vpc_id })
const routeView = (row: Route) => ({
  ...identityView(row),
  vpc_router_id: row.vpc_router_id,
  kind: row.kind,
  target: readColumn(routeTarget, row.target),
  destination: readColumn(routeDestination, row.destination),
})

export const routerRoutes = [
  implement('vpc_router_list', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc_router')
        .selectAll()
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      routerView,
    )
  }),

  implement('vpc_router_create', async (call) => {
    const { services, body } = call
    const vpc = await vpcOf(call, powers.collaborator)
    const row = { ...newRow(services, body), vpc_id: vpc.id, kind: 'custom' as const }
    await transact(services, async (store) => {
      await demandLive(store, 'vpc', vpc)
      await store.insertInto('vpc_router').values(row).execute()
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('vpc-router', body.name) : error
    })
    return routerView(row)
  }),

  implement('vpc_router_view', async (call) => routerView(await routerOf(call, powers.viewer))),

  implement('vpc_router_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await routerById(call, id)
    if (row === undefined) throw notFoundById('vpc-router', id)
    await demandVpc(call, { type: 'vpc-router', id, vpc_id: row.vpc_id }, powers.viewer)
    return routerView(row)
  }),

  implement('vpc_router_update', async (call) => {
    const { services, body } = call
    const router = await routerOf(call, powers.collaborator)
    const row = await services.store
      .updateTable('vpc_router')
      .set(changesOf(services, body))
      .where('id', '=', router.id)
      .where('time_deleted_ms', 'is', null)
      .returningAll()
      .executeTakeFirst()
      .catch((error: unknown) => {
        throw isConflict(error) ? alreadyExists('vpc-router', body.name ?? router.name) : error
      })
    if (row === undefined) throw notFound('vpc-router', router.name)
    return routerView(row)
  }),

  implement('vpc_router_delete', async (call) => {
    const { services } = call
    const router = await routerOf(call, powers.collaborator)
    if (router.kind === 'system') throw notAllowed('Cannot delete system router')
    const time_deleted_ms = services.clock.now()
    await transact(services, async (store) => {
      await demandLive(store, 'vpc_router', router)
      await store
        .updateTable('router_route')
        .set({ time_deleted_ms })
        .where('vpc_router_id', '=', router.id)
        .where('time_deleted_ms', 'is', null)
        .execute()
      await store
        .updateTable('vpc_router')
        .set({ time_deleted_ms })
        .where('id', '=', router.id)
        .execute()
    })
    return null
  }),

  implement('vpc_router_route_list', async (call) => {
    const router = await routerOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('router_route')
        .selectAll()
        .where('vpc_router_id', '=', router.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      routeView,
    )
  }),

  implement('vpc_router_route_create', async (call) => {
    const { services, body } = call
    const router = await routerOf(call, powers.collaborator)
    const row = {
      ...newRow(services, body),
      vpc_router_id: router.id,
      kind: 'custom' as const,
      ...routing(body),
    }
    await transact(services, async (store) => {
      await demandLive(store, 'vpc_router', router)
      await store.insertInto('router_route').values(row).execute()
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('router-route', body.name) : error
    })
    return routeView(row)
  }),

  implement('vpc_router_route_view', async (call) => routeView(await routeOf(call, powers.viewer))),

  implement('vpc_router_route_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('router_route')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    const router = row === undefined ? undefined : await routerById(call, row.vpc_router_id)
    if (row === undefined || router === undefined) throw notFoundById('router-route', id)
    await demandVpc(call, { type: 'router-route', id, vpc_id: router.vpc_id }, powers.viewer)
    return routeView(row)
  }),

  implement('vpc_router_route_update', async (call) => {
    const { services, body } = call
    const route = await routeOf(call, powers.collaborator)
    if (route.kind !== 'custom' && route.kind !== 'default') {
      throw notAllowed(
        `routes of type ${route.kind} from the system table of VPC "${call.path('vpc_name')}" are not modifiable`,
      )
    }
    const row = await services.store
      .updateTable('router_route')
      .set({ ...changesOf(services, body), ...routing(body) })
      .where('id', '=', route.id)
      .where('time_deleted_ms', 'is', null)
      .returningAll()
      .executeTakeFirst()
      .catch((error: unknown) => {
        throw isConflict(error) ? alreadyExists('router-route', body.name ?? route.name) : error
      })
    if (row === undefined) throw notFound('router-route', route.name)
    return routeView(row)
  }),

  implement('vpc_router_route_delete', async (call) => {
    const { services } = call
    const route = await routeOf(call, powers.collaborator)
    if (route.kind !== 'custom') throw notAllowed('DELETE not allowed on system routes')
    const { numUpdatedRows } = await services.store
      .updateTable('router_route')
      .set({ time_deleted_ms: services.clock.now() })
      .where('id', '=', route.id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) throw notFound('router-route', route.name)
    return null
  }),
]

interface End {
  readonly type: string
  readonly value: string
}
/** Where a route leads and what for, as they are kept. */
const routing = ({ target, destination }: { readonly target: End; readonly destination: End }) => ({
  target: endText(target),
  destination: endText(destination),
})
const endText = ({ type, value }: End) => JSON.stringify({ type, value })
