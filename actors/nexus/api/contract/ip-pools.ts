/** Pools of external addresses. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import {
  maybe,
  name,
  uuid,
  time,
  ipv4,
  ipv6,
  identity,
  updatedIdentity,
  named,
  page,
} from '#actors/http/words.ts'

const servicePoolPath = '/system/ip-pools-service/{rack_id}'
const poolPath = '/system/ip-pools/{pool_name}'

export const ipPool = Type.Object({ ...named, project_id: maybe(uuid) }, { component: 'IpPool' })

export const ipPoolCreate = Type.Object(
  { ...identity, organization: Type.Optional(name), project: Type.Optional(name) },
  { component: 'IpPoolCreate' },
)

export const ipv4Range = Type.Object({ first: ipv4, last: ipv4 }, { component: 'Ipv4Range' })

export const ipv6Range = Type.Object({ first: ipv6, last: ipv6 }, { component: 'Ipv6Range' })

export const ipRange = Type.Union([ipv4Range, ipv6Range], { component: 'IpRange' })

export const ipPoolRange = Type.Object(
  { id: uuid, range: ipRange, time_created: time },
  { component: 'IpPoolRange' },
)

export const ipPoolUpdate = Type.Object({ ...updatedIdentity }, { component: 'IpPoolUpdate' })

export const ipPoolsOperations = {
  ip_pool_view_by_id: operation('GET /system/by-id/ip-pools/{id}', {
    tag: 'system',
    summary: 'Fetch an IP pool by id',
    reply: ipPool,
  }),
  ip_pool_list: operation('GET /system/ip-pools', {
    tag: 'system',
    summary: 'List IP pools',
    page: 'name_or_id',
    reply: page(ipPool),
  }),
  ip_pool_create: operation('POST /system/ip-pools', {
    tag: 'system',
    summary: 'Create an IP pool',
    body: ipPoolCreate,
    reply: ipPool,
  }),
  ip_pool_view: operation(`GET ${poolPath}`, {
    tag: 'system',
    summary: 'Fetch an IP pool',
    reply: ipPool,
  }),
  ip_pool_update: operation(`PUT ${poolPath}`, {
    tag: 'system',
    summary: 'Update an IP Pool',
    body: ipPoolUpdate,
    reply: ipPool,
  }),
  ip_pool_delete: operation(`DELETE ${poolPath}`, {
    tag: 'system',
    summary: 'Delete an IP Pool',
    reply: 'nothing',
  }),
  ip_pool_range_list: operation(`GET ${poolPath}/ranges`, {
    tag: 'system',
    summary: 'List ranges for an IP pool',
    page: 'own',
    reply: page(ipPoolRange),
  }),
  ip_pool_range_add: operation(`POST ${poolPath}/ranges/add`, {
    tag: 'system',
    summary: 'Add a range to an IP pool',
    body: ipRange,
    reply: ipPoolRange,
  }),
  ip_pool_range_remove: operation(`POST ${poolPath}/ranges/remove`, {
    tag: 'system',
    summary: 'Remove a range from an IP pool',
    body: ipRange,
    status: 204,
    reply: 'nothing',
  }),
  ip_pool_service_view: operation(`GET ${servicePoolPath}`, {
    tag: 'system',
    summary: 'Fetch an IP pool used for Oxide services.',
    reply: ipPool,
  }),
  ip_pool_service_range_list: operation(`GET ${servicePoolPath}/ranges`, {
    tag: 'system',
    summary: 'List ranges for an IP pool used for Oxide services.',
    page: 'own',
    reply: page(ipPoolRange),
  }),
  ip_pool_service_range_add: operation(`POST ${servicePoolPath}/ranges/add`, {
    tag: 'system',
    summary: 'Add a range to an IP pool used for Oxide services.',
    body: ipRange,
    reply: ipPoolRange,
  }),
  ip_pool_service_range_remove: operation(`POST ${servicePoolPath}/ranges/remove`, {
    tag: 'system',
    summary: 'Remove a range from an IP pool used for Oxide services.',
    body: ipRange,
    status: 204,
    reply: 'nothing',
  }),
}
