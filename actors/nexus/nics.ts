/** Network interfaces: which address, MAC and slot an instance's NIC gets. */
import type { Selectable } from 'kysely'
import { blockOf, inBlock, toAddress, toNumber } from './addresses.ts'
import { newRow, type Services } from './context.ts'
import { invalidRequest, notFound } from './errors.ts'
import type { StoreTransaction, Tables } from './store/schema.ts'

export type Nic = Selectable<Tables['network_interface']>

/** The first five addresses and the last of a subnet are the system's. */
const reserved_first = 5n
const slots_max = 8
const mac_first = 0xa8_40_25_f0_00_00
const mac_last = 0xa8_40_25_fe_ff_ff

export interface NicGiven {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly vpc_name: string
  readonly subnet_name: string
  readonly ip: string | null
}
interface Owner {
  readonly instance_id: string
  readonly project_id: string
}

/** The lowest free address of a subnet; null when it is exhausted. */
export function lowestFreeIp(cidr: string, taken: ReadonlySet<string>): string | null {
  const block = blockOf(cidr)
  for (let at = block.first + reserved_first; at < block.last; at += 1n) {
    const ip = toAddress(at, 4)
    if (!taken.has(ip)) return ip
  }
  return null
}

/** Whether an instance may have this address of the subnet. */
export function isUsableIp(cidr: string, ip: string): boolean {
  const block = blockOf(cidr)
  const value = toNumber(ip)
  return inBlock(ip, block) && value >= block.first + reserved_first && value < block.last
}

/** The first free MAC from a start on, wrapping around; null when all are taken. */
export function freeMac(start: number, taken: ReadonlySet<string>): string | null {
  const span = mac_last - mac_first + 1
  for (let step = 0; step < span; step += 1) {
    const value = mac_first + ((start - mac_first + step) % span)
    const mac = (value.toString(16).padStart(12, '0').match(/../g) ?? []).join(':')
    if (!taken.has(mac)) return mac
  }
  return null
}

/** Gives an instance a NIC. The same id again gives what it already has. */
export async function insertNic(
  services: Services,
  store: StoreTransaction,
  owner: Owner,
  given: NicGiven,
): Promise<Nic> {
  const known = await store
    .selectFrom('network_interface')
    .selectAll()
    .where('id', '=', given.id)
    .executeTakeFirst()
  if (known !== undefined) return known
  const { vpc, subnet } = await placeOf(store, owner.project_id, given)
  const others = await store
    .selectFrom('network_interface')
    .selectAll()
    .where('instance_id', '=', owner.instance_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  refuseCombination(others, vpc.id, subnet.id)
  const slot = Array.from({ length: slots_max }, (_, index) => index).find(
    (index) => !others.some((other) => other.slot === index),
  )
  if (slot === undefined) {
    throw invalidRequest('Instances may not have more than 8 network interfaces')
  }
  const row: Nic = {
    ...newRow(services, given),
    id: given.id,
    instance_id: owner.instance_id,
    vpc_id: vpc.id,
    subnet_id: subnet.id,
    mac: await chooseMac(services, store, vpc.id),
    ip: await chooseIp(store, subnet, given.ip),
    slot,
    is_primary: others.length === 0,
  }
  await store.insertInto('network_interface').values(row).execute()
  return row
}

async function placeOf(store: StoreTransaction, project_id: string, given: NicGiven) {
  const vpc = await store
    .selectFrom('vpc')
    .selectAll()
    .where('project_id', '=', project_id)
    .where('name', '=', given.vpc_name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (vpc === undefined) throw notFound('vpc', given.vpc_name)
  const subnet = await store
    .selectFrom('vpc_subnet')
    .selectAll()
    .where('vpc_id', '=', vpc.id)
    .where('name', '=', given.subnet_name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (subnet === undefined) throw notFound('vpc-subnet', given.subnet_name)
  return { vpc, subnet }
}

function refuseCombination(others: readonly Nic[], vpc_id: string, subnet_id: string): void {
  if (others.some((other) => other.vpc_id !== vpc_id)) {
    throw invalidRequest(
      'Networking may not span multiple VPCs, but the requested instance is associated with another VPC',
    )
  }
  if (others.some((other) => other.subnet_id === subnet_id)) {
    throw invalidRequest('Each interface for an instance must be in a distinct VPC Subnet')
  }
}

async function chooseIp(
  store: StoreTransaction,
  subnet: { readonly id: string; readonly name: string; readonly ipv4_block: string },
  wanted: string | null,
): Promise<string> {
  const rows = await store
    .selectFrom('network_interface')
    .select('ip')
    .where('subnet_id', '=', subnet.id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const taken = new Set(rows.map(({ ip }) => ip))
  if (wanted !== null) {
    if (!isUsableIp(subnet.ipv4_block, wanted)) {
      throw invalidRequest(
        `Address '${wanted}' not in subnet '${subnet.ipv4_block}' or is reserved for rack services`,
      )
    }
    if (taken.has(wanted)) throw invalidRequest(`The IP address '${wanted}' is not available`)
    return wanted
  }
  const free = lowestFreeIp(subnet.ipv4_block, taken)
  if (free === null) throw invalidRequest('No available IP addresses for interface')
  return free
}

async function chooseMac(
  services: Services,
  store: StoreTransaction,
  vpc_id: string,
): Promise<string> {
  const rows = await store
    .selectFrom('network_interface')
    .select('mac')
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const start = mac_first + Math.floor(services.random.next() * (mac_last - mac_first + 1))
  const mac = freeMac(start, new Set(rows.map((row) => row.mac)))
  if (mac === null) throw invalidRequest('No available MAC addresses for interface')
  return mac
}
