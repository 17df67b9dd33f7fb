/** Groups, local users' passwords and identity providers; roles of groups. */
import type { Migration } from '../migrate.ts'
import {
  addColumn,
  createIndex,
  createListIndices,
  createTable,
  live,
  named,
  optional,
  text,
  time_ms,
  uuid,
} from '../table.ts'

export const identities: Migration = {
  name: '0002-identities',
  up: async (db) => {
    await createTable(db, 'silo_group', {
      id: uuid,
      silo_id: uuid,
      external_id: text,
      time_created_ms: time_ms,
      time_deleted_ms: optional(time_ms),
    })
    await createIndex(db, 'silo_group', ['silo_id', 'external_id'], { unique: true, where: live })
    await createIndex(db, 'silo_group', ['silo_id', 'id'], { where: live })
    const membership = { silo_user_id: uuid, silo_group_id: uuid }
    await createTable(db, 'silo_group_membership', membership, ['silo_user_id', 'silo_group_id'])
    await createIndex(db, 'silo_group_membership', ['silo_group_id'])
    const password = { silo_user_id: uuid, hash: text, time_created_ms: time_ms }
    await createTable(db, 'silo_user_password', password, ['silo_user_id'])
    await createTable(db, 'saml_identity_provider', {
      ...named,
      silo_id: uuid,
      idp_metadata: text,
      idp_entity_id: text,
      sp_client_id: text,
      acs_url: text,
      slo_url: text,
      technical_contact_email: text,
      public_cert: optional(text),
      private_key: optional(text),
      group_attribute_name: optional(text),
    })
    await createListIndices(db, 'saml_identity_provider', ['silo_id'])
    await addColumn(db, 'role_assignment', 'identity_type', text)
    await createIndex(db, 'console_session', ['silo_user_id'])
    await createIndex(db, 'device_access_token', ['silo_user_id'])
  },
}
