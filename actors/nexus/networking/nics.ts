/** Network interfaces: which address, MAC and slot an instance's NIC gets. */
import type { Selectable } from 'kysely'
import { blockOf, inBlock, toAddress, toNumber } from './addresses.ts'
import { newRow } from '../context.ts'
import { alreadyExists, invalidRequest, notFound } from '#actors/http/errors.ts'
import { identityView } from '../names.ts'
import { placesToTry, takenMeanwhile, type Attempt } from './places.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'

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

export const nicView = (row: Nic) => ({
  ...identityView(row),
  instance_id: row.instance_id,
  vpc_id: row.vpc_id,
  subnet_id: row.subnet_id,
  mac: row.mac.toUpperCase(),
  ip: row.ip,
  primary: row.is_primary,
})

/** Whether an instance may have this address of the subnet. */
export function isUsableIp(cidr: string, ip: string): boolean {
  const block = blockOf(cidr)
  const value = toNumber(ip)
  return inBlock(ip, block) && value >= block.first + reserved_first && value < block.last
}

/**
 * Looks for a place for a NIC, and gives back what puts it there in a transaction; for
 * `lookThenTransact`, which looks again when the place is taken meanwhile.
 *
 * What a serializable transaction reads, nobody may change at the same time, and databases are
 * coarse about it: those who look for a free address are in the way of all who take one. So it is
 * looked for before the transaction. The unique indices say whether the address and the MAC are
 * still free; if not, others are looked for.
 */
export async function placeNic(
  attempt: Attempt,
  { instance_id, project_id }: Owner,
  given: NicGiven,
): Promise<(store: StoreTransaction, others: readonly Nic[]) => Promise<Nic>> {
  const { services, store } = attempt
  const { vpc_id, id: subnet_id, ipv4_block } = await placeOf(store, project_id, given)
  const mac = await chooseMac(attempt, vpc_id)
  const ip = await chooseIp(attempt, { id: subnet_id, ipv4_block }, given.ip)
  const wanted = {
    ...newRow(services, given),
    id: given.id,
    instance_id,
    vpc_id,
    subnet_id,
    mac,
    ip,
  }
  return async (transaction, others) => {
    const { id } = await placeOf(transaction, project_id, given)
    if (id !== subnet_id) throw takenMeanwhile(`subnet ${subnet_id}`)
    const row = { ...wanted, slot: slotFor(others, wanted), is_primary: others.length === 0 }
    if ((await nicInserted(transaction, row)).length === 0) throw takenMeanwhile(ip)
    return row
  }
}

/** An instance's NICs. */
export const nicsOf = prepare((store, { instance_id }: Pick<Owner, 'instance_id'>) =>
  store
    .selectFrom('network_interface')
    .selectAll()
    .where('instance_id', '=', instance_id)
    .where('time_deleted_ms', 'is', null),
)

const nicInserted = prepare((store, row: Nic) =>
  store
    .insertInto('network_interface')
    .values(row)
    .onConflict((taken) => taken.doNothing())
    .returning('id'),
)

const subnetNamed = prepare(
  (store, given: Record<'project_id' | 'vpc_name' | 'subnet_name', string>) =>
    store
      .selectFrom('vpc_subnet')
      .selectAll()
      // Not a join: SQLite would plan one anew for every value.
      .where('vpc_id', '=', (from) =>
        from
          .selectFrom('vpc')
          .select('vpc.id')
          .where('project_id', '=', given.project_id)
          .where('vpc.name', '=', given.vpc_name)
          .where('vpc.time_deleted_ms', 'is', null),
      )
      .where('name', '=', given.subnet_name)
      .where('time_deleted_ms', 'is', null),
)

/** The subnet that a NIC is to be in. Throws 404 when it, or its VPC, is not there. */
async function placeOf(
  store: Store | StoreTransaction,
  project_id: string,
  { vpc_name, subnet_name }: Pick<NicGiven, 'vpc_name' | 'subnet_name'>,
) {
  const [subnet] = await subnetNamed(store, { project_id, vpc_name, subnet_name })
  if (subnet !== undefined) return subnet
  const vpc = await store
    .selectFrom('vpc')
    .select('id')
    .where('project_id', '=', project_id)
    .where('name', '=', vpc_name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  throw vpc === undefined ? notFound('vpc', vpc_name) : notFound('vpc-subnet', subnet_name)
}

/** The lowest free slot for a NIC beside the others. Throws 400 when they do not go together. */
function slotFor(
  others: readonly Nic[],
  { name, vpc_id, subnet_id }: Pick<Nic, 'name' | 'vpc_id' | 'subnet_id'>,
): number {
  if (others.some((other) => other.vpc_id !== vpc_id)) {
    throw invalidRequest(
      'Networking may not span multiple VPCs, but the requested instance is associated with another VPC',
    )
  }
  if (others.some((other) => other.subnet_id === subnet_id)) {
    throw invalidRequest('Each interface for an instance must be in a distinct VPC Subnet')
  }
  if (others.some((other) => other.name === name)) throw alreadyExists('network-interface', name)
  const slot = Array.from({ length: slots_max }, (_, index) => index).find(
    (index) => !others.some((other) => other.slot === index),
  )
  if (slot === undefined) {
    throw invalidRequest('Instances may not have more than 8 network interfaces')
  }
  return slot
}

interface Subnet {
  readonly id: string
  readonly ipv4_block: string
}

async function chooseIp(attempt: Attempt, subnet: Subnet, wanted: string | null): Promise<string> {
  if (wanted === null) return await freeIp(attempt, subnet)
  if (!isUsableIp(subnet.ipv4_block, wanted)) {
    throw invalidRequest(
      `Address '${wanted}' not in subnet '${subnet.ipv4_block}' or is reserved for rack services`,
    )
  }
  const taken = await takenIps(attempt.store, subnet, [wanted])
  if (taken.has(wanted)) throw invalidRequest(`The IP address '${wanted}' is not available`)
  return wanted
}

async function freeIp(attempt: Attempt, subnet: Subnet): Promise<string> {
  const block = blockOf(subnet.ipv4_block)
  const first = block.first + reserved_first
  for (const { lowest, others } of placesToTry(Number(block.last - first), 2, attempt)) {
    const ips = [...lowest, ...others].map((place) => toAddress(first + BigInt(place), 4))
    const taken = await takenIps(attempt.store, subnet, ips)
    const free = ips.find((ip) => !taken.has(ip))
    if (free !== undefined) return free
  }
  throw invalidRequest('No available IP addresses for interface')
}

const ipRows = prepare(
  (store, { id, ips }: { readonly id: string; readonly ips: readonly string[] }) =>
    store
      .selectFrom('network_interface')
      .select('ip')
      .where('subnet_id', '=', id)
      .where('ip', 'in', ips)
      .where('time_deleted_ms', 'is', null),
)

async function takenIps(
  store: Store | StoreTransaction,
  { id }: Subnet,
  ips: readonly string[],
): Promise<ReadonlySet<string>> {
  return new Set((await ipRows(store, { id, ips })).map(({ ip }) => ip))
}

const macRows = prepare(
  (store, { vpc_id, macs }: { readonly vpc_id: string; readonly macs: readonly string[] }) =>
    store
      .selectFrom('network_interface')
      .select('mac')
      .where('vpc_id', '=', vpc_id)
      .where('mac', 'in', macs)
      .where('time_deleted_ms', 'is', null),
)

/** Of MACs none is better than another: all attempts begin anywhere. */
async function chooseMac(attempt: Attempt, vpc_id: string): Promise<string> {
  for (const { others } of placesToTry(mac_last - mac_first + 1, 1, { ...attempt, tries: 2 })) {
    const macs = others.map((place) => macText(mac_first + place))
    const rows = await macRows(attempt.store, { vpc_id, macs })
    const taken = new Set(rows.map(({ mac }) => mac))
    const free = macs.find((mac) => !taken.has(mac))
    if (free !== undefined) return free
  }
  throw invalidRequest('No available MAC addresses for interface')
}

const macText = (value: number) =>
  (value.toString(16).padStart(12, '0').match(/../g) ?? []).join(':')
