/** VPCs. Each begins with a router, firewall rules and a subnet (`sagas/vpc-create.ts`). */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import { fits } from '#runtime/schema.ts'
import { implement, type UserCall } from '../api/route.ts'
import { powers, type Power } from '../access/authz.ts'
import { alreadyExists, invalidRequest, notFound, notFoundById } from '#actors/http/errors.ts'
import { demandLive, demandProject, projectOf } from '../lookup.ts'
import { changesOf, identityView } from '../names.ts'
import { planVpc, vpcCreateSaga } from '../sagas/vpc-create.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { StoreTransaction, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { checkedPrefix, deleteVpc } from './vpc-create.ts'

export type Vpc = Selectable<Tables['vpc']>

export async function vpcOf(call: UserCall, needed: Power): Promise<Vpc> {
  const project = await projectOf(call, needed)
  const name = call.path('vpc_name')
  const row = await call.services.store
    .selectFrom('vpc')
    .selectAll()
    .where('project_id', '=', project.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('vpc', name)
  return row
}

/** Checks the caller's power over something of a VPC: who may not read its project does not see it. */
export async function demandVpc(
  call: UserCall,
  what: { readonly type: string; readonly id: string; readonly vpc_id: string },
  needed: Power,
): Promise<void> {
  const vpc = await call.services.store
    .selectFrom('vpc')
    .select('project_id')
    .where('id', '=', what.vpc_id)
    .executeTakeFirst()
  if (vpc === undefined) throw notFoundById(what.type, what.id)
  await demandProject(call, { ...what, project_id: vpc.project_id }, needed)
}

const view = (row: Omit<Vpc, 'vni'>) => ({
  ...identityView(row),
  project_id: row.project_id,
  system_router_id: row.system_router_id,
  ipv6_prefix: row.ipv6_prefix,
  dns_name: row.dns_name,
})

export const vpcRoutes = [
  implement('vpc_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      view,
    )
  }),

  implement('vpc_create', async (call) => {
    const { services, body } = call
    const project = await projectOf(call, powers.collaborator)
    const { ipv6_prefix = null } = body
    const params = planVpc(services, {
      project_id: project.id,
      name: body.name,
      description: body.description,
      dns_name: body.dns_name,
      ipv6_prefix: ipv6_prefix === null ? null : checkedPrefix(ipv6_prefix),
    })
    await services.sagas.run(vpcCreateSaga, params, services.work?.span)
    return view(params.vpc)
  }),

  implement('vpc_view', async (call) => view(await vpcOf(call, powers.viewer))),

  implement('vpc_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('vpc')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('vpc', id)
    await demandProject(call, { type: 'vpc', id, project_id: row.project_id }, powers.viewer)
    return view(row)
  }),

  implement('vpc_update', async (call) => {
    const { services, body } = call
    const vpc = await vpcOf(call, powers.collaborator)
    const { dns_name = null } = body
    const changes = { ...changesOf(services, body), ...(dns_name === null ? {} : { dns_name }) }
    return await transact(services, async (store) => {
      const row = await store
        .updateTable('vpc')
        .set(changes)
        .where('id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null)
        .returningAll()
        .executeTakeFirst()
      if (row === undefined) throw notFound('vpc', vpc.name)
      if (row.name !== vpc.name) await renameWithin(store, vpc, row.name)
      return view(row)
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('vpc', body.name ?? vpc.name) : error
    })
  }),

  implement('vpc_delete', async (call) => {
    const { services } = call
    const vpc = await vpcOf(call, powers.collaborator)
    await transact(services, async (store) => {
      const subnet = await store
        .selectFrom('vpc_subnet')
        .select('id')
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (subnet !== undefined) {
        throw invalidRequest('VPC cannot be deleted while VPC Subnets exist')
      }
      await demandLive(store, 'vpc', vpc)
      await deleteVpc(store, vpc.id, services.clock.now())
    })
    return null
  }),
]

/** Firewall rules and routes of a VPC speak of it by its name, and go on doing so. */
async function renameWithin(store: StoreTransaction, vpc: Vpc, name: string): Promise<void> {
  const renamed = (document: string) =>
    JSON.stringify(
      JSON.parse(document, (_key, part: unknown) =>
        fits(namedVpc, part) && part.value === vpc.name ? { type: 'vpc', value: name } : part,
      ),
    )
  const rules = await store
    .selectFrom('vpc_firewall_rule')
    .select(['id', 'targets', 'filters'])
    .where('vpc_id', '=', vpc.id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id, targets, filters } of rules) {
    const changed = { targets: renamed(targets), filters: renamed(filters) }
    await store.updateTable('vpc_firewall_rule').set(changed).where('id', '=', id).execute()
  }
  const routers = await store
    .selectFrom('vpc_router')
    .select('id')
    .where('vpc_id', '=', vpc.id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const router of routers) {
    const routes = await store
      .selectFrom('router_route')
      .select(['id', 'target', 'destination'])
      .where('vpc_router_id', '=', router.id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    for (const { id, target, destination } of routes) {
      const changed = { target: renamed(target), destination: renamed(destination) }
      await store.updateTable('router_route').set(changed).where('id', '=', id).execute()
    }
  }
}

const namedVpc = Type.Object({ type: Type.Literal('vpc'), value: Type.String() })
