/** The numbers that a VPC begins with, and its end. */
import { blockOf, blockText } from './addresses.ts'
import type { Services } from '../context.ts'
import { invalidRequest } from '#actors/http/errors.ts'
import type { StoreTransaction } from '../store/schema.ts'

/** VNIs below are the system's own. */
const vni_min = 1024
const vni_max = 0xff_ffff
const subnet_ipv4 = '172.30.0.0/22'
const prefix_bits = 48
export const subnet_ipv6_bits = 64

export interface VpcGiven {
  readonly project_id: string
  readonly name: string
  readonly description: string
  readonly dns_name: string
  /** A /48 of fd00::/8; null takes a random one. */
  readonly ipv6_prefix: string | null
}

/** A prefix that was asked for, as it is kept. Throws 400 for one that no VPC may have. */
export function checkedPrefix(given: string): string {
  const block = blockOf(given)
  if (block.prefix !== prefix_bits || block.first >> 120n !== 0xfdn) {
    throw invalidRequest(
      'VPC IPv6 address prefixes must be in the Unique Local Address range `fd00::/48` (RFD 4193)',
    )
  }
  return blockText(block)
}

export function randomPrefix(services: Services): string {
  const hex = Buffer.from(services.random.bytes(5)).toString('hex')
  return checkedPrefix(`fd${hex.slice(0, 2)}:${hex.slice(2, 6)}:${hex.slice(6, 10)}::/48`)
}

/** The blocks of a VPC's subnet `default`. */
export const firstSubnetOf = (ipv6_prefix: string) => ({
  ipv4_block: subnet_ipv4,
  ipv6_block: blockText({ ...blockOf(ipv6_prefix), prefix: subnet_ipv6_bits }),
})

export async function freeVni(services: Services, store: StoreTransaction): Promise<number> {
  for (;;) {
    const vni = vni_min + Math.floor(services.random.next() * (vni_max - vni_min + 1))
    const taken = await store
      .selectFrom('vpc')
      .select('id')
      .where('vni', '=', vni)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (taken === undefined) return vni
  }
}

const partsOfVpc = ['vpc_subnet', 'vpc_router', 'vpc_firewall_rule'] as const

/** Soft-deletes a VPC with all that it is made of. */
export async function deleteVpc(
  store: StoreTransaction,
  id: string,
  time_deleted_ms: number,
): Promise<void> {
  const routers = store.selectFrom('vpc_router').select('id').where('vpc_id', '=', id)
  await store
    .updateTable('router_route')
    .set({ time_deleted_ms })
    .where('vpc_router_id', 'in', routers.where('time_deleted_ms', 'is', null))
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const table of partsOfVpc) {
    await store
      .updateTable(table)
      .set({ time_deleted_ms })
      .where('vpc_id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .execute()
  }
  await store.updateTable('vpc').set({ time_deleted_ms }).where('id', '=', id).execute()
}

/** Soft-deletes a project's VPCs. */
export async function deleteVpcs(
  store: StoreTransaction,
  project_id: string,
  time_deleted_ms: number,
): Promise<void> {
  const vpcs = await store
    .selectFrom('vpc')
    .select('id')
    .where('project_id', '=', project_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id } of vpcs) await deleteVpc(store, id, time_deleted_ms)
}

/** Takes a VPC that was never finished out of the store, with what it came to hold. */
export async function eraseVpc(store: StoreTransaction, id: string): Promise<void> {
  const routers = store.selectFrom('vpc_router').select('id').where('vpc_id', '=', id)
  await store
    .deleteFrom('router_route')
    .where('vpc_router_id', 'in', routers.where('time_deleted_ms', 'is', null))
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const table of partsOfVpc) {
    await store
      .deleteFrom(table)
      .where('vpc_id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .execute()
  }
  await store
    .deleteFrom('propagation')
    .where('kind', '=', 'firewall')
    .where('id', '=', id)
    .execute()
  await store.deleteFrom('vpc').where('id', '=', id).execute()
}
