/** When sagas have ended. Not known (null) of those that members of before have ended. */
import { sql } from 'kysely'
import type { Migration } from '../migrate.ts'
import { addColumn, createIndex, time_ms } from '../table.ts'

export const sagaEnds: Migration = {
  name: '0009-saga-ends',
  up: async (db) => {
    await addColumn(db, 'saga', 'time_ended_ms', time_ms)
    await sql`drop index saga_by_state_time_created_ms`.execute(db)
    await createIndex(db, 'saga', ['state', 'time_ended_ms', 'time_created_ms'])
  },
}
