/** Projects: where instances, disks and VPCs live. Each begins with a VPC called `default`. */
import { implement } from './api/route.ts'
import { powers } from './access/authz.ts'
import { newRow } from './context.ts'
import { alreadyExists, invalidRequest } from '#actors/http/errors.ts'
import { demandProject, organizationOf, projectOf, type Project } from './lookup.ts'
import { identityView } from './names.ts'
import { planVpc, projectCreateSaga } from './sagas/vpc-create.ts'
import { isConflict } from './store/failure.ts'
import type { StoreTransaction } from './store/schema.ts'
import { listPage } from './store/page.ts'
import { deleteVpcs } from './networking/vpc-create.ts'
import { transact } from './store/transact.ts'

const view = (row: Project) => ({ ...identityView(row), organization_id: row.organization_id })

export const projectRoutes = [
  implement('project_list', async (call) => {
    const organization = await organizationOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('project')
        .selectAll()
        .where('organization_id', '=', organization.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      view,
    )
  }),

  implement('project_create', async (call) => {
    const { services, body } = call
    const organization = await organizationOf(call, powers.collaborator)
    const row = { ...newRow(services, body), organization_id: organization.id }
    const vpc = planVpc(services, {
      project_id: row.id,
      name: 'default',
      description: 'Default VPC',
      dns_name: 'default',
      ipv6_prefix: null,
    })
    await services.sagas.run(projectCreateSaga, { project: row, vpc }, services.work?.span)
    return view(row)
  }),

  implement('project_view', async (call) => view(await projectOf(call, powers.viewer))),

  implement('project_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await demandProject(call, { type: 'project', id, project_id: id }, powers.viewer)
    return view(row)
  }),

  implement('project_update', async (call) => {
    const { services, body } = call
    const row = await projectOf(call, powers.admin)
    const changed = {
      name: body.name ?? row.name,
      description: body.description ?? row.description,
      time_modified_ms: services.clock.now(),
    }
    try {
      await services.store.updateTable('project').set(changed).where('id', '=', row.id).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('project', changed.name) : error
    }
    return view({ ...row, ...changed })
  }),

  implement('project_delete', async (call) => {
    const { services } = call
    const row = await projectOf(call, powers.admin)
    await transact(services, async (store) => {
      await refuseIfUsed(store, row.id)
      const time_deleted_ms = services.clock.now()
      await deleteVpcs(store, row.id, time_deleted_ms)
      await store.updateTable('project').set({ time_deleted_ms }).where('id', '=', row.id).execute()
    })
    return null
  }),
]

/** Omicron deletes a project whatever it holds and leaves orphans; here it must be empty. */
async function refuseIfUsed(store: StoreTransaction, project_id: string): Promise<void> {
  for (const [table, what] of [
    ['instance', 'an instance'],
    ['disk', 'a disk'],
    ['snapshot', 'a snapshot'],
    ['image', 'an image'],
  ] as const) {
    const found = await store
      .selectFrom(table)
      .select('id')
      .where('project_id', '=', project_id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (found !== undefined) throw invalidRequest(`project to be deleted contains ${what}`)
  }
}
