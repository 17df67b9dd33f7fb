/** What the internal API is told: pools, datasets, services, metric collectors and producers. */
import type { Migration } from '../migrate.ts'
import {
  addColumn,
  boolean,
  createIndex,
  createTable,
  inet,
  integer,
  text,
  time_ms,
  uuid,
} from '../table.ts'

const reported = { id: uuid, time_created_ms: time_ms, time_modified_ms: time_ms }
const endpoint = { ip: inet, port: integer }

export const hardware: Migration = {
  name: '0007-hardware',
  up: async (db) => {
    await addColumn(db, 'rack', 'initialized', boolean)
    await addColumn(db, 'sled', 'role', text)
    await addColumn(db, 'disk', 'reported_gen', integer)
    await createTable(db, 'zpool', { ...reported, sled_id: uuid, size_bytes: integer })
    await createTable(db, 'dataset', { ...reported, ...endpoint, zpool_id: uuid, kind: text })
    await createTable(db, 'service', { ...reported, sled_id: uuid, ip: inet, kind: text })
    await createTable(db, 'oximeter', { ...reported, ...endpoint })
    await createTable(db, 'metric_producer', {
      ...reported,
      ...endpoint,
      oximeter_id: uuid,
      base_route: text,
      interval_s: integer,
      interval_ns: integer,
    })
    await createIndex(db, 'metric_producer', ['oximeter_id', 'id'])
  },
}
