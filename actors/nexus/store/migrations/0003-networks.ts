/** Lists of a subnet's network interfaces. */
import type { Migration } from '../migrate.ts'
import { createIndex, live } from '../table.ts'

export const networks: Migration = {
  name: '0003-networks',
  up: async (db) => {
    // Names are unique within an instance only, so the id settles the order.
    await createIndex(db, 'network_interface', ['subnet_id', 'name', 'id'], { where: live })
  },
}
