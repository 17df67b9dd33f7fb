/** The operator's view: hardware, sagas, updates, roles, built-in users. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import {
  assignments,
  roleName,
  uuid,
  asset,
  named,
  page,
  identityType,
} from '#actors/http/words.ts'

export const fleetRole = Type.Enum(['admin', 'collaborator', 'viewer'], { component: 'FleetRole' })

export const fleetRoleRoleAssignment = Type.Object(
  { identity_id: uuid, identity_type: identityType, role_name: fleetRole },
  { component: 'FleetRoleRoleAssignment' },
)

export const fleetRolePolicy = Type.Object(
  { role_assignments: assignments(fleetRoleRoleAssignment) },
  { component: 'FleetRolePolicy' },
)

export const nodeName = Type.String({ component: 'NodeName' })

export const rack = Type.Object({ ...asset }, { component: 'Rack' })

export const role = Type.Object(
  { description: Type.String(), name: roleName },
  { component: 'Role' },
)

export const sagaErrorInfo = Type.Union(
  [
    Type.Object({ error: Type.Literal('action_failed'), source_error: Type.Unknown() }),
    Type.Object({ error: Type.Literal('deserialize_failed'), message: Type.String() }),
    Type.Object({ error: Type.Literal('injected_error') }),
    Type.Object({ error: Type.Literal('serialize_failed'), message: Type.String() }),
    Type.Object({ error: Type.Literal('subsaga_create_failed'), message: Type.String() }),
  ],
  { component: 'SagaErrorInfo' },
)

export const sagaState = Type.Union(
  [
    Type.Object({ state: Type.Literal('running') }),
    Type.Object({ state: Type.Literal('succeeded') }),
    Type.Object({
      state: Type.Literal('failed'),
      error_info: sagaErrorInfo,
      error_node_name: nodeName,
    }),
  ],
  { component: 'SagaState' },
)

export const saga = Type.Object({ id: uuid, state: sagaState }, { component: 'Saga' })

export const sled = Type.Object({ ...asset, service_address: Type.String() }, { component: 'Sled' })

export const userBuiltin = Type.Object({ ...named }, { component: 'UserBuiltin' })

export const systemOperations = {
  role_list: operation('GET /roles', {
    tag: 'roles',
    summary: 'List built-in roles',
    page: 'own',
    reply: page(role),
  }),
  role_view: operation('GET /roles/{role_name}', {
    tag: 'roles',
    summary: 'Fetch a built-in role',
    path_parts: { role_name: Type.String() },
    reply: role,
  }),
  rack_list: operation('GET /system/hardware/racks', {
    tag: 'system',
    summary: 'List racks',
    page: 'id',
    reply: page(rack),
  }),
  rack_view: operation('GET /system/hardware/racks/{rack_id}', {
    tag: 'system',
    summary: 'Fetch a rack',
    reply: rack,
  }),
  sled_list: operation('GET /system/hardware/sleds', {
    tag: 'system',
    summary: 'List sleds',
    page: 'id',
    reply: page(sled),
  }),
  sled_view: operation('GET /system/hardware/sleds/{sled_id}', {
    tag: 'system',
    summary: 'Fetch a sled',
    reply: sled,
  }),
  system_policy_view: operation('GET /system/policy', {
    tag: 'policy',
    summary: 'Fetch the top-level IAM policy',
    reply: fleetRolePolicy,
  }),
  system_policy_update: operation('PUT /system/policy', {
    tag: 'policy',
    summary: 'Update the top-level IAM policy',
    body: fleetRolePolicy,
    reply: fleetRolePolicy,
  }),
  saga_list: operation('GET /system/sagas', {
    tag: 'system',
    summary: 'List sagas',
    page: 'id',
    reply: page(saga),
  }),
  saga_view: operation('GET /system/sagas/{saga_id}', {
    tag: 'system',
    summary: 'Fetch a saga',
    reply: saga,
  }),
  updates_refresh: operation('POST /system/updates/refresh', {
    tag: 'system',
    summary: 'Refresh update data',
    status: 204,
    reply: 'nothing',
  }),
  system_user_list: operation('GET /system/user', {
    tag: 'system',
    summary: 'List built-in users',
    page: 'name',
    reply: page(userBuiltin),
  }),
  system_user_view: operation('GET /system/user/{user_name}', {
    tag: 'system',
    summary: 'Fetch a built-in user',
    reply: userBuiltin,
  }),
}
