/**
 * Members and leases of the cluster (runtime/cluster), which session a saga belongs to, and what the
 * background tasks go by.
 */
import { sql } from 'kysely'
import { clusterSchema } from '#runtime/cluster/sql.ts'
import type { Migration } from '../migrate.ts'
import { addColumn, boolean, createIndex, createTable, integer, text, time_ms } from '../table.ts'

export const cluster: Migration = {
  name: '0006-cluster',
  up: async (db) => {
    for (const statement of clusterSchema) await sql.raw(statement).execute(db)
    await addColumn(db, 'saga', 'owner', text)
    await createIndex(db, 'saga', ['state', 'owner'])
    const propagation = { kind: text, id: text, generation: integer, is_owed: boolean }
    await createTable(db, 'propagation', propagation, ['kind', 'id'])
    await createIndex(db, 'propagation', ['is_owed'])
    const task = { name: text, generation: integer, member: text, time_last_run_ms: time_ms }
    await createTable(db, 'background_task', task, ['name'])
  },
}
