/** Subnets of a VPC: blocks of private IPv4 addresses and of the VPC's IPv6 prefix, none of which overlap. */
import { sql, type Selectable, type SqlBool } from 'kysely'
import { blockOf, blockText, isWithin, overlaps } from './addresses.ts'
import { implement, type UserCall } from '../api/route.ts'
import { corruptedToken, pageOf } from '#actors/http/pagination.ts'
import { powers, type Power } from '../access/authz.ts'
import { newRow, type Services } from '../context.ts'
import { alreadyExists, invalidRequest, notFound, notFoundById } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import { changesOf, identityView } from '../names.ts'
import { nicView } from './nics.ts'
import { owe } from '../propagation.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { StoreTransaction, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { subnet_ipv6_bits } from './vpc-create.ts'
import { demandVpc, vpcOf, type Vpc } from './vpcs.ts'

type Subnet = Selectable<Tables['vpc_subnet']>

/** RFC 1918. */
const privateBlocks = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].map(blockOf)
const ipv4_bits_min = 8
const ipv4_bits_max = 26
/** How many /64 a VPC's /48 has. */
const ipv6_subnets = 0x1_0000

async function subnetOf(call: UserCall, needed: Power): Promise<Subnet> {
  const vpc = await vpcOf(call, needed)
  const name = call.path('subnet_name')
  const row = await call.services.store
    .selectFrom('vpc_subnet')
    .selectAll()
    .where('vpc_id', '=', vpc.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('vpc-subnet', name)
  return row
}

const view = (row: Subnet) => ({
  ...identityView(row),
  vpc_id: row.vpc_id,
  ipv4_block: row.ipv4_block,
  ipv6_block: row.ipv6_block,
})

export const subnetRoutes = [
  implement('vpc_subnet_list', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc_subnet')
        .selectAll()
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      view,
    )
  }),

  implement('vpc_subnet_create', async (call) => {
    const { services, body } = call
    const vpc = await vpcOf(call, powers.collaborator)
    const ipv4_block = checkedIpv4(body.ipv4_block)
    const { ipv6_block: given = null } = body
    const wanted = given === null ? null : checkedIpv6(given, vpc)
    const row = await transact(services, async (store) => {
      await demandLive(store, 'vpc', vpc)
      const others = await blocksOf(store, vpc)
      refuseOverlap(ipv4_block, others)
      const ipv6_block = wanted ?? freeIpv6(services, vpc, others)
      refuseOverlap(ipv6_block, others)
      const made = { ...newRow(services, body), vpc_id: vpc.id, ipv4_block, ipv6_block }
      await store.insertInto('vpc_subnet').values(made).execute()
      // Firewall rules may have spoken of it before it was there.
      await owe(store, { kind: 'firewall', id: vpc.id })
      return made
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('vpc-subnet', body.name) : error
    })
    services.publisher.sendSoon(services, [{ kind: 'firewall', id: vpc.id }])
    return view(row)
  }),

  implement('vpc_subnet_view', async (call) => view(await subnetOf(call, powers.viewer))),

  implement('vpc_subnet_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('vpc_subnet')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('vpc-subnet', id)
    await demandVpc(call, { type: 'vpc-subnet', id, vpc_id: row.vpc_id }, powers.viewer)
    return view(row)
  }),

  implement('vpc_subnet_update', async (call) => {
    const { services, body } = call
    const subnet = await subnetOf(call, powers.collaborator)
    const changes = changesOf(services, body)
    const row = await transact(services, async (store) => {
      const changed = await store
        .updateTable('vpc_subnet')
        .set(changes)
        .where('id', '=', subnet.id)
        .where('time_deleted_ms', 'is', null)
        .returningAll()
        .executeTakeFirst()
      if (changed === undefined) throw notFound('vpc-subnet', subnet.name)
      // Firewall rules speak of subnets by their names.
      if (body.name !== undefined) await owe(store, { kind: 'firewall', id: subnet.vpc_id })
      return changed
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('vpc-subnet', body.name ?? subnet.name) : error
    })
    if (body.name !== undefined) {
      services.publisher.sendSoon(services, [{ kind: 'firewall', id: subnet.vpc_id }])
    }
    return view(row)
  }),

  implement('vpc_subnet_delete', async (call) => {
    const { services } = call
    const subnet = await subnetOf(call, powers.collaborator)
    await transact(services, async (store) => {
      const nic = await store
        .selectFrom('network_interface')
        .select('id')
        .where('subnet_id', '=', subnet.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (nic !== undefined) {
        throw invalidRequest(
          'VPC Subnet cannot be deleted while instances with network interfaces in the subnet exist',
        )
      }
      const { numUpdatedRows } = await store
        .updateTable('vpc_subnet')
        .set({ time_deleted_ms: services.clock.now() })
        .where('id', '=', subnet.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (numUpdatedRows === 0n) throw notFound('vpc-subnet', subnet.name)
      await owe(store, { kind: 'firewall', id: subnet.vpc_id })
    })
    services.publisher.sendSoon(services, [{ kind: 'firewall', id: subnet.vpc_id }])
    return null
  }),

  implement('vpc_subnet_list_network_interfaces', async (call) => {
    const subnet = await subnetOf(call, powers.viewer)
    const { after, limit } = call.page
    const nics = call.services.store
      .selectFrom('network_interface')
      .selectAll()
      .where('subnet_id', '=', subnet.id)
      .where('time_deleted_ms', 'is', null)
    const rows = await (after === null ? nics : nics.where(isBehind(after)))
      .orderBy('name')
      .orderBy('id')
      .limit(limit)
      .execute()
    return pageOf(rows, call.page, nicView, ({ name, id }) => `${name}/${id}`)
  }),
]

/** Interfaces of different instances have the same names: pages end between ids of one name. */
function isBehind(after: string) {
  const [name, id, ...rest] = after.split('/')
  if (name === undefined || id === undefined || rest.length > 0) throw corruptedToken()
  return sql<SqlBool>`(name, id) > (${name}, ${id})`
}

/** An IPv4 block that was asked for, as it is kept. Throws 400 for one that no subnet may have. */
function checkedIpv4(given: string): string {
  const block = blockOf(given)
  if (!privateBlocks.some((all) => isWithin(block, all))) {
    throw invalidRequest('VPC Subnet IPv4 address ranges must be from a private range')
  }
  if (block.prefix < ipv4_bits_min || block.prefix > ipv4_bits_max) {
    throw invalidRequest(
      `VPC Subnet IPv4 address ranges must have prefix length between ${ipv4_bits_min} and ${ipv4_bits_max}, inclusive`,
    )
  }
  return blockText(block)
}

function checkedIpv6(given: string, { ipv6_prefix }: Vpc): string {
  const block = blockOf(given)
  if (block.prefix !== subnet_ipv6_bits || !isWithin(block, blockOf(ipv6_prefix))) {
    throw invalidRequest(
      `VPC Subnet IPv6 address range '${given}' is not valid for VPC with IPv6 prefix '${ipv6_prefix}'`,
    )
  }
  return blockText(block)
}

/** All blocks of a VPC's subnets, of both families. */
async function blocksOf(store: StoreTransaction, vpc: Vpc): Promise<ReadonlySet<string>> {
  const rows = await store
    .selectFrom('vpc_subnet')
    .select(['ipv4_block', 'ipv6_block'])
    .where('vpc_id', '=', vpc.id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  return new Set(rows.flatMap(({ ipv4_block, ipv6_block }) => [ipv4_block, ipv6_block]))
}

function refuseOverlap(wanted: string, others: ReadonlySet<string>): void {
  const block = blockOf(wanted)
  for (const other of others) {
    if (overlaps(block, blockOf(other))) {
      throw invalidRequest(`IP address range '${wanted}' conflicts with an existing subnet`)
    }
  }
}

/** A /64 of the VPC's prefix that nobody has: a random one, or the next that is free. */
function freeIpv6(services: Services, vpc: Vpc, others: ReadonlySet<string>): string {
  const prefix = blockOf(vpc.ipv6_prefix)
  const start = Math.floor(services.random.next() * ipv6_subnets)
  for (let step = 0; step < ipv6_subnets; step += 1) {
    const number = BigInt((start + step) % ipv6_subnets)
    const first = prefix.first + (number << BigInt(128 - subnet_ipv6_bits))
    const text = blockText({ family: 6, first, prefix: subnet_ipv6_bits })
    if (!others.has(text)) return text
  }
  throw invalidRequest(`VPC "${vpc.name}" has no free IPv6 address range for another subnet`)
}
