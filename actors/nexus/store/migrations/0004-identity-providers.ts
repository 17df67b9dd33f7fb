/** Logins by SAML: which requests were made, which assertions were used; and indices by age, for sweeping. */
import type { Migration } from '../migrate.ts'
import { createIndex, createTable, text, time_ms, uuid } from '../table.ts'

export const identityProviders: Migration = {
  name: '0004-identity-providers',
  up: async (db) => {
    await createTable(db, 'saml_login_request', {
      id: text,
      identity_provider_id: uuid,
      time_expires_ms: time_ms,
    })
    const assertion = { identity_provider_id: uuid, assertion_hash: text, time_expires_ms: time_ms }
    const key = ['assertion_hash', 'identity_provider_id']
    await createTable(db, 'saml_assertion_used', assertion, key)
    for (const [table, column] of [
      ['saml_login_request', 'time_expires_ms'],
      ['saml_assertion_used', 'time_expires_ms'],
      ['device_auth_request', 'time_expires_ms'],
      ['console_session', 'time_last_used_ms'],
      ['console_session', 'time_created_ms'],
    ] as const) {
      await createIndex(db, table, [column])
    }
  },
}
