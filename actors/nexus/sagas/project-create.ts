/** project-create: the record, and the VPC called `default` that every project begins with. */
import type { Project } from '../lookup.ts'
import { alreadyExists } from '../errors.ts'
import { demandLive } from '../lookup.ts'
import type { Saga } from '../saga.ts'
import { isConflict } from '../store/failure.ts'
import { transact } from '../store/transact.ts'
import { deleteVpcs, insertVpc } from '../vpc-create.ts'

export interface ProjectCreateParams {
  /** The record as it will be inserted. */
  readonly project: Project
}

export const projectCreateSaga: Saga<ProjectCreateParams> = {
  name: 'project-create',
  nodes: () => [
    {
      name: 'project_record',
      action: async ({ services, params }) => {
        const { project } = params
        await transact(services, async (store) => {
          const known = await store
            .selectFrom('project')
            .select('id')
            .where('id', '=', project.id)
            .executeTakeFirst()
          if (known !== undefined) return
          await demandLive(store, 'organization', { id: project.organization_id, name: null })
          await store.insertInto('project').values(project).execute()
        }).catch((error: unknown) => {
          throw isConflict(error) ? alreadyExists('project', project.name) : error
        })
      },
      undo: async ({ services, params }) => {
        const time_deleted_ms = services.clock.now()
        await transact(services, async (store) => {
          await store
            .updateTable('project')
            .set({ time_deleted_ms })
            .where('id', '=', params.project.id)
            .where('time_deleted_ms', 'is', null)
            .execute()
        })
      },
    },
    {
      name: 'default_vpc',
      action: async ({ services, params }) => {
        const project_id = params.project.id
        await transact(services, async (store) => {
          // Deleted while it was being made: then nothing more is made.
          await demandLive(store, 'project', { id: project_id, name: params.project.name })
          const known = await store
            .selectFrom('vpc')
            .select('id')
            .where('project_id', '=', project_id)
            .where('time_deleted_ms', 'is', null)
            .executeTakeFirst()
          if (known !== undefined) return
          await insertVpc(services, store, {
            project_id,
            name: 'default',
            description: 'Default VPC',
            dns_name: 'default',
            ipv6_prefix: null,
          })
        })
      },
      undo: async ({ services, params }) => {
        const time_deleted_ms = services.clock.now()
        await transact(services, async (store) => {
          await deleteVpcs(store, params.project.id, time_deleted_ms)
        })
      },
    },
  ],
}
