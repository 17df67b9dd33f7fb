/** States of instances and disks, and what there is of volumes and artifacts: nothing yet. */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { diskState } from '../api/contract/disks.ts'
import { invalidRequest, notFound, notFoundById, unavailable } from '#actors/http/errors.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { report_ms_max } from './hardware.ts'
import { implementInternal as implement } from './route.ts'
import { readTime } from './time.ts'

type DiskState = Static<typeof diskState>

export const stateReports = [
  implement('cpapi_instances_put', async ({ services, path, body }) => {
    const instance_id = path('instance_id')
    const { sled_id, run_state, gen } = body
    const time_updated_ms = readTime('time_updated', body.time_updated)
    const told = await services.nexus.call(
      'instance_report',
      { sled_id, instance_id, runtime: { run_state, gen, time_updated_ms } },
      { timeout_ms: report_ms_max },
    )
    if (told.ok) return null
    throw told.error === 'unknown_instance' ? notFoundById('instance', instance_id) : unavailable()
  }),
  implement('cpapi_disks_put', async ({ services, path, body }) => {
    const id = path('disk_id')
    const { disk_state, gen } = body
    readTime('time_updated', body.time_updated)
    await transact(services, async (store) => {
      const row = await store
        .selectFrom('disk')
        .selectAll()
        .where('id', '=', id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (row === undefined) throw notFoundById('disk', id)
      // An older report changes nothing.
      if (gen <= (row.reported_gen ?? 0)) return
      if (!isPossible(row, disk_state)) {
        throw invalidRequest(
          `disk state "${disk_state.state}" does not go with what is asked of the disk, which is "${row.state}"`,
        )
      }
      const change = { state: disk_state.state, reported_gen: gen }
      await store.updateTable('disk').set(change).where('id', '=', id).execute()
    })
    return null
  }),
  implement('cpapi_volume_remove_read_only_parent', async ({ path }) => {
    throw notFoundById('volume', path('volume_id'))
  }),
  implement('cpapi_artifact_download', async ({ path }) => {
    throw notFound('artifact', `${path('kind')}/${path('name')}/${path('version')}`)
  }),
]

/**
 * Whether a report goes with what Nexus has asked for: it decides to what a disk is attached, when it is
 * ready and when it is gone, and reports say how far that has come.
 */
function isPossible(
  row: Pick<Selectable<Tables['disk']>, 'state' | 'attach_instance_id'>,
  seen: DiskState,
): boolean {
  switch (seen.state) {
    case 'attaching':
    case 'attached':
    case 'detaching':
      return seen.instance === row.attach_instance_id
    case 'detached':
    case 'faulted':
      return row.attach_instance_id === null && !['creating', 'destroyed'].includes(row.state)
    case 'creating':
    case 'destroyed':
      return seen.state === row.state
  }
}
