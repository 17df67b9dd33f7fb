/** From the API's hardware of an instance to what its actor takes. Pure. */
import { createHash } from 'node:crypto'
import { instanceSpec, type InstanceSpec } from '#actors/instance.protocol.ts'
import { rulesForPort } from '#actors/nexus/networking/firewall.ts'
import { invalidRequest, notImplemented } from '#actors/http/errors.ts'
import type { GuestVnic } from '#actors/vnic.protocol.ts'
import { fits, misfit } from '#runtime/schema.ts'
import type { DiskRequest, InstanceHardware, NetworkInterface } from './contract.ts'
import { ruleOf } from './firewall.ts'

/** What a new instance should have. Throws 400 for what no guest can have here, 501 for what is not built. */
export function specOf(id: string, given: InstanceHardware): InstanceSpec {
  const { runtime, cloud_init_bytes = null } = given
  if (cloud_init_bytes !== null) {
    throw notImplemented(
      'cloud_init_bytes: this sled makes the disk of cloud-init by itself, from the keys and user data that Nexus sends: leave it null',
    )
  }
  const spec: InstanceSpec = {
    id,
    propolis_id: runtime.propolis_id,
    name: runtime.hostname,
    hostname: runtime.hostname,
    ncpus: runtime.ncpus,
    memory_bytes: runtime.memory,
    nics: given.nics.map((nic) => portOf(id, given, nic)),
    disks: given.disks.map(diskOf),
    cidata: { public_keys: [], user_data: '' },
  }
  if (fits(instanceSpec, spec)) return spec
  throw invalidRequest(`initial: ${misfit(instanceSpec, spec)}`)
}

function portOf(
  instance_id: string,
  { runtime, source_nat, external_ips, firewall_rules }: InstanceHardware,
  nic: NetworkInterface,
): GuestVnic {
  if (nic.ip.includes(':') || nic.subnet.includes(':')) {
    throw invalidRequest('IPv6 is not yet supported for guest interfaces')
  }
  const mac = nic.mac.toLowerCase()
  return {
    kind: 'guest',
    id: portId(instance_id, nic.slot),
    instance_id,
    vni: nic.vni,
    subnet: nic.subnet,
    ip: nic.ip,
    mac,
    primary: nic.primary,
    slot: nic.slot,
    hostname: runtime.hostname,
    // The way out is the primary interface's.
    source_nat: nic.primary ? source_nat : null,
    external_ips: nic.primary ? external_ips.slice(0, 1) : [],
    firewall_rules: rulesForPort(firewall_rules.map(ruleOf), mac),
  }
}

/** The API names ports by their slots; the same one is the same port, whenever it is asked for. */
function portId(instance_id: string, slot: number): string {
  const hash = createHash('sha256').update(`${instance_id}/${slot}`).digest('hex')
  const [a, b, c, d, e] = [
    hash.slice(0, 8),
    hash.slice(8, 12),
    hash.slice(13, 16),
    hash.slice(17, 20),
    hash.slice(20, 32),
  ]
  return `${a}-${b}-8${c}-8${d}-${e}`
}

/** Volumes of this sled go by their id; what Crucible would put together is not here. */
function diskOf({ slot, read_only, volume_construction_request }: DiskRequest) {
  const where = `volume_construction_request of slot ${slot}`
  const { id, block_size } = volumeOf(volume_construction_request, where)
  return { id, slot, read_only, block_size }
}

/** The volume of this sled that is named at `where`. Throws 400 for anything that Crucible would make. */
export function volumeOf(request: DiskRequest['volume_construction_request'], where: string) {
  if (
    request.type !== 'volume' ||
    request.sub_volumes.length > 0 ||
    (request.read_only_parent ?? null) !== null
  ) {
    throw invalidRequest(
      `${where}: this sled has no Crucible: name a disk of this sled as {"type":"volume","id":…} without sub_volumes and read_only_parent`,
    )
  }
  return request
}
