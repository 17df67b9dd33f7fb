/** Instances that move from one sled to another. */
import type { Migration } from '../migrate.ts'
import { addColumn, uuid } from '../table.ts'

export const migration: Migration = {
  name: '0008-migration',
  up: async (db) => {
    await addColumn(db, 'instance', 'migration_id', uuid)
  },
}
