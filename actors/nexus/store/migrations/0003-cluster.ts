/** Members and leases of the cluster (runtime/cluster), and which session a saga belongs to. */
import { sql } from 'kysely'
import { clusterSchema } from '#runtime/cluster/sql.ts'
import type { Migration } from '../migrate.ts'
import { addColumn, createIndex, text } from '../table.ts'

export const cluster: Migration = {
  name: '0003-cluster',
  up: async (db) => {
    for (const statement of clusterSchema) await sql.raw(statement).execute(db)
    await addColumn(db, 'saga', 'owner', text)
    await createIndex(db, 'saga', ['state', 'owner'])
  },
}
