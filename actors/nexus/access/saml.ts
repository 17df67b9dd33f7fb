/** The identity providers of silos whose users come from elsewhere. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { samlIdentityProviderCreate } from '../api/contract/silos.ts'
import { implement } from '../api/route.ts'
import { newRow } from '../context.ts'
import { alreadyExists, invalidRequest, invalidValue, notFound } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import { identityView } from '../names.ts'
import { fetchMetadata, isBase64, isHttpUrl, pemOf, readMetadata } from './saml-metadata.ts'
import { siloOf } from './silos.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Store, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

export type Provider = Selectable<Tables['saml_identity_provider']>
type Create = Static<typeof samlIdentityProviderCreate>

/** What may be shown of a provider: all but its metadata and our private key. */
const view = (row: Provider) => ({
  ...identityView(row),
  idp_entity_id: row.idp_entity_id,
  sp_client_id: row.sp_client_id,
  acs_url: row.acs_url,
  slo_url: row.slo_url,
  technical_contact_email: row.technical_contact_email,
  public_cert: row.public_cert,
})

const providersOf = (store: Store, silo_id: string) =>
  store
    .selectFrom('saml_identity_provider')
    .selectAll()
    .where('silo_id', '=', silo_id)
    .where('time_deleted_ms', 'is', null)

/** The provider of a silo by its name, for those who may know that it is there. */
export async function providerNamed(
  store: Store,
  silo_id: string,
  name: string,
): Promise<Provider | null> {
  const row = await providersOf(store, silo_id).where('name', '=', name).executeTakeFirst()
  return row ?? null
}

export const samlRoutes = [
  implement('silo_identity_provider_list', async (call) => {
    const silo = await siloOf(call, 'read')
    return await listPage(providersOf(call.services.store, silo.id), call.page, (row) => ({
      ...identityView(row),
      provider_type: 'saml' as const,
    }))
  }),

  implement('saml_identity_provider_view', async (call) => {
    const silo = await siloOf(call, 'read')
    const name = call.path('provider_name')
    const row = await providerNamed(call.services.store, silo.id, name)
    if (row === null) throw notFound('saml-identity-provider', name)
    return view(row)
  }),

  implement('saml_identity_provider_create', async (call) => {
    const { services, body } = call
    const silo = await siloOf(call, 'manage')
    if (silo.identity_mode !== 'saml_jit') {
      throw invalidRequest('cannot create identity providers in this kind of Silo')
    }
    checkFields(body)
    const keys = keysOf(body)
    const idp_metadata = await fetchMetadata(body.idp_metadata_source)
    const described = readMetadata(idp_metadata)
    if (!described.ok) {
      throw invalidValue('idp_metadata_source', `cannot use the metadata: ${described.detail}`)
    }
    if (described.value.entity_id !== body.idp_entity_id) {
      throw invalidValue('idp_entity_id', 'it is not the entityID of the metadata')
    }
    const { idp_entity_id, sp_client_id, acs_url, slo_url, technical_contact_email } = body
    const row = {
      ...newRow(services, body),
      silo_id: silo.id,
      idp_metadata,
      ...{ idp_entity_id, sp_client_id, acs_url, slo_url, technical_contact_email },
      ...keys,
      group_attribute_name: body.group_attribute_name ?? null,
    }
    try {
      await transact(services, async (store) => {
        await demandLive(store, 'silo', silo)
        await store.insertInto('saml_identity_provider').values(row).execute()
      })
    } catch (error) {
      throw isConflict(error) ? alreadyExists('saml-identity-provider', body.name) : error
    }
    return view(row)
  }),
]

function checkFields({ sp_client_id, acs_url, slo_url }: Create): void {
  if (sp_client_id === '') throw invalidValue('sp_client_id', 'it may not be empty')
  for (const [label, url] of Object.entries({ acs_url, slo_url })) {
    if (!isHttpUrl(url)) throw invalidValue(label, 'it must be an http or https URL')
  }
}

/** The key pair that requests are signed with, as it was given: base64 of DER. */
function keysOf({ signing_keypair }: Create): Pick<Provider, 'public_cert' | 'private_key'> {
  if (signing_keypair === null || signing_keypair === undefined) {
    return { public_cert: null, private_key: null }
  }
  const { public_cert, private_key } = signing_keypair
  const pem = pemOf(public_cert)
  if (pem === null) throw invalidValue('public_cert', 'it must be base64 of a certificate in DER')
  const key = privateKeyOf(private_key)
  if (key?.asymmetricKeyType !== 'rsa') {
    throw invalidValue('private_key', 'it must be base64 of an RSA private key in DER')
  }
  if (!new X509Certificate(pem).checkPrivateKey(key)) {
    throw invalidValue('signing_keypair', 'the private key is not that of the certificate')
  }
  return { public_cert, private_key }
}

/** A private key of base64 DER, PKCS #8 or PKCS #1; null when it is neither. */
export function privateKeyOf(base64: string): KeyObject | null {
  if (!isBase64(base64)) return null
  const key = Buffer.from(base64, 'base64')
  for (const type of ['pkcs8', 'pkcs1'] as const) {
    try {
      return createPrivateKey({ key, format: 'der', type })
    } catch {
      // Perhaps it is the other one.
    }
  }
  return null
}
