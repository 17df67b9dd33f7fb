/** Silos, their users, groups and identity providers. */
import { Type } from 'typebox'
import { user, group } from './session.ts'
import { operation } from '#actors/http/operation.ts'
import {
  assignments,
  maybe,
  userId,
  uuid,
  password,
  identity,
  named,
  page,
  identityType,
} from '#actors/http/words.ts'

const siloPath = '/system/silos/{silo_name}'

export const derEncodedKeyPair = Type.Object(
  { private_key: Type.String(), public_cert: Type.String() },
  { component: 'DerEncodedKeyPair' },
)

export const identityProviderType = Type.Union([Type.Literal('saml')], {
  component: 'IdentityProviderType',
})

export const identityProvider = Type.Object(
  { ...named, provider_type: identityProviderType },
  { component: 'IdentityProvider' },
)

export const idpMetadataSource = Type.Union(
  [
    Type.Object({ type: Type.Literal('url'), url: Type.String() }),
    Type.Object({ type: Type.Literal('base64_encoded_xml'), data: Type.String() }),
  ],
  { component: 'IdpMetadataSource' },
)

export const samlIdentityProvider = Type.Object(
  {
    ...named,
    acs_url: Type.String(),
    idp_entity_id: Type.String(),
    public_cert: maybe(Type.String()),
    slo_url: Type.String(),
    sp_client_id: Type.String(),
    technical_contact_email: Type.String(),
  },
  { component: 'SamlIdentityProvider' },
)

export const samlIdentityProviderCreate = Type.Object(
  {
    ...identity,
    acs_url: Type.String(),
    group_attribute_name: maybe(Type.String()),
    idp_entity_id: Type.String(),
    idp_metadata_source: idpMetadataSource,
    signing_keypair: maybe(derEncodedKeyPair),
    slo_url: Type.String(),
    sp_client_id: Type.String(),
    technical_contact_email: Type.String(),
  },
  { component: 'SamlIdentityProviderCreate' },
)

export const siloIdentityMode = Type.Union([Type.Literal('saml_jit'), Type.Literal('local_only')], {
  component: 'SiloIdentityMode',
})

export const silo = Type.Object(
  { ...named, discoverable: Type.Boolean(), identity_mode: siloIdentityMode },
  { component: 'Silo' },
)

export const siloCreate = Type.Object(
  {
    ...identity,
    admin_group_name: maybe(Type.String()),
    discoverable: Type.Boolean(),
    identity_mode: siloIdentityMode,
  },
  { component: 'SiloCreate' },
)

export const siloRole = Type.Enum(['admin', 'collaborator', 'viewer'], { component: 'SiloRole' })

export const siloRoleRoleAssignment = Type.Object(
  { identity_id: uuid, identity_type: identityType, role_name: siloRole },
  { component: 'SiloRoleRoleAssignment' },
)

export const siloRolePolicy = Type.Object(
  { role_assignments: assignments(siloRoleRoleAssignment) },
  { component: 'SiloRolePolicy' },
)

export const userPassword = Type.Union(
  [
    Type.Object({ user_password_value: Type.Literal('password'), details: password }),
    Type.Object({ user_password_value: Type.Literal('invalid_password') }),
  ],
  { component: 'UserPassword' },
)

export const userCreate = Type.Object(
  { external_id: userId, password: userPassword },
  { component: 'UserCreate' },
)

export const silosOperations = {
  group_list: operation('GET /groups', {
    tag: 'silos',
    summary: 'List groups',
    page: 'id',
    reply: page(group),
  }),
  policy_view: operation('GET /policy', {
    tag: 'silos',
    summary: "Fetch the current silo's IAM policy",
    reply: siloRolePolicy,
  }),
  policy_update: operation('PUT /policy', {
    tag: 'silos',
    summary: "Update the current silo's IAM policy",
    body: siloRolePolicy,
    reply: siloRolePolicy,
  }),
  silo_view_by_id: operation('GET /system/by-id/silos/{id}', {
    tag: 'system',
    summary: 'Fetch a silo by id',
    reply: silo,
  }),
  silo_list: operation('GET /system/silos', {
    tag: 'system',
    summary: 'List silos',
    page: 'name_or_id',
    reply: page(silo),
  }),
  silo_create: operation('POST /system/silos', {
    tag: 'system',
    summary: 'Create a silo',
    body: siloCreate,
    reply: silo,
  }),
  silo_view: operation(`GET ${siloPath}`, { tag: 'system', summary: 'Fetch a silo', reply: silo }),
  silo_delete: operation(`DELETE ${siloPath}`, {
    tag: 'system',
    summary: 'Delete a silo',
    reply: 'nothing',
  }),
  silo_identity_provider_list: operation(`GET ${siloPath}/identity-providers`, {
    tag: 'system',
    summary: "List a silo's IDPs",
    page: 'name',
    reply: page(identityProvider),
  }),
  local_idp_user_create: operation(`POST ${siloPath}/identity-providers/local/users`, {
    tag: 'system',
    summary: 'Create a user',
    body: userCreate,
    reply: user,
  }),
  local_idp_user_delete: operation(`DELETE ${siloPath}/identity-providers/local/users/{user_id}`, {
    tag: 'system',
    summary: 'Delete a user',
    reply: 'nothing',
  }),
  local_idp_user_set_password: operation(
    `POST ${siloPath}/identity-providers/local/users/{user_id}/set-password`,
    {
      tag: 'system',
      summary: "Set or invalidate a user's password",
      body: userPassword,
      status: 204,
      reply: 'nothing',
    },
  ),
  saml_identity_provider_create: operation(`POST ${siloPath}/identity-providers/saml`, {
    tag: 'system',
    summary: 'Create a SAML IDP',
    body: samlIdentityProviderCreate,
    reply: samlIdentityProvider,
  }),
  saml_identity_provider_view: operation(
    `GET ${siloPath}/identity-providers/saml/{provider_name}`,
    { tag: 'system', summary: 'Fetch a SAML IDP', reply: samlIdentityProvider },
  ),
  silo_policy_view: operation(`GET ${siloPath}/policy`, {
    tag: 'system',
    summary: "Fetch a silo's IAM policy",
    reply: siloRolePolicy,
  }),
  silo_policy_update: operation(`PUT ${siloPath}/policy`, {
    tag: 'system',
    summary: "Update a silo's IAM policy",
    body: siloRolePolicy,
    reply: siloRolePolicy,
  }),
  silo_users_list: operation(`GET ${siloPath}/users/all`, {
    tag: 'system',
    summary: 'List users in a specific Silo',
    page: 'id',
    reply: page(user),
  }),
  silo_user_view: operation(`GET ${siloPath}/users/id/{user_id}`, {
    tag: 'system',
    summary: 'Fetch a user',
    reply: user,
  }),
  user_list: operation('GET /users', {
    tag: 'silos',
    summary: 'List users',
    page: 'id',
    reply: page(user),
  }),
}
