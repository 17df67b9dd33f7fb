/** Snapshots, images of projects, and what disks were measured to do. */
import type { Migration } from '../migrate.ts'
import {
  addColumn,
  createIndex,
  createListIndices,
  createTable,
  integer,
  json,
  named,
  optional,
  text,
  time_ms,
  uuid,
} from '../table.ts'

export const storage: Migration = {
  name: '0005-storage',
  up: async (db) => {
    const volume = { project_id: uuid, size_bytes: integer, block_size: integer }
    await createTable(db, 'snapshot', {
      ...named,
      ...volume,
      disk_id: uuid,
      sled_id: uuid,
      state: text,
    })
    await createListIndices(db, 'snapshot', ['project_id'])
    await createTable(db, 'image', {
      ...named,
      ...volume,
      sled_id: optional(uuid),
      url: optional(text),
      version: optional(text),
      source: json,
    })
    await createListIndices(db, 'image', ['project_id'])
    await addColumn(db, 'disk', 'snapshot_id', uuid)
    const counters = {
      activated: integer,
      flush: integer,
      read: integer,
      read_bytes: integer,
      write: integer,
      write_bytes: integer,
    }
    await createTable(
      db,
      'disk_sample',
      { disk_id: uuid, time_ms, start_ms: time_ms, ...counters },
      ['disk_id', 'time_ms'],
    )
    await createIndex(db, 'disk_sample', ['time_ms'])
  },
}
