/** What a guest needs from the sled's other actors: ports and disks around its machine. */
import { limits } from '#config/limits.ts'
import type { MachineSpec, Vmm } from '#native/platform/vmm.ts'
import type { Context } from '#runtime/actor/actor.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import type { instanceProtocol, InstanceSpec } from '#actors/instance.protocol.ts'
import { vnicProtocol } from '#actors/vnic.protocol.ts'

export interface InstanceDeps {
  readonly vmm: Vmm
  readonly sled_id: string
  /** Hosts of Nexus members; a report goes to the first that takes it. */
  readonly nexus_hosts: () => readonly string[]
}
export type InstanceContext = Context<InstanceDeps, typeof instanceProtocol>

const time = { timeout_ms: limits.zone_boot_ms_max }

/** What a machine is made of: its ports, then its disks. What was made when one fails is for `releaseGuest`. */
export async function equipGuest(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<MachineSpec, 'os_failed'>> {
  const nics = await makePorts(context, spec)
  if (!nics.ok) return nics
  const disks = await attachDisks(context, spec)
  if (!disks.ok) return disks
  if (context.signal.aborted) return err('os_failed', 'the start was called off')
  return ok({
    instance_id: spec.id,
    propolis_id: spec.propolis_id,
    hostname: spec.hostname,
    ncpus: spec.ncpus,
    memory_bytes: spec.memory_bytes,
    nics: nics.value,
    disks: disks.value,
    cidata: spec.cidata,
  })
}

/** Makes what the machine needs, then starts it. */
export async function startGuest(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  const machine = await equipGuest(context, spec)
  if (!machine.ok) return machine
  const started = await context.deps.vmm.start(machine.value)
  return started.ok ? ok(null) : started
}

/** Follows a machine that runs: what it does, and what it asks of its disks. */
export function watchGuest(context: InstanceContext, spec: InstanceSpec): () => void {
  if (spec.disks.length > 0) context.after(0, 'sample', { propolis_id: spec.propolis_id })
  return context.deps.vmm.watch(context.id, (event) => {
    context.after(0, 'observed', { propolis_id: spec.propolis_id, event })
  })
}

async function makePorts(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<MachineSpec['nics'], 'os_failed'>> {
  const nics: Array<MachineSpec['nics'][number]> = []
  for (const nic of spec.nics.toSorted((a, b) => a.slot - b.slot)) {
    if (context.signal.aborted) return err('os_failed', 'the start was called off')
    const made = await context.ref(vnicProtocol, nic.id).call('ensure', nic, time)
    if (!made.ok) return err('os_failed', `port ${nic.id}: ${made.detail}`)
    const { link, netns } = made.value
    nics.push({ link, netns, mac: nic.mac, slot: nic.slot })
  }
  return ok(nics)
}

async function attachDisks(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<MachineSpec['disks'], 'os_failed'>> {
  const disks: Array<MachineSpec['disks'][number]> = []
  for (const disk of spec.disks.toSorted((a, b) => a.slot - b.slot)) {
    if (context.signal.aborted) return err('os_failed', 'the start was called off')
    const { id, slot, read_only, block_size } = disk
    const served = await context
      .ref(diskProtocol, id)
      .call('attach', { instance_id: spec.id, read_only }, time)
    if (!served.ok) return err('os_failed', `disk ${id}: ${served.detail}`)
    disks.push({ id, slot, read_only, block_size, ...served.value })
  }
  return ok(disks)
}

/** The reverse: machine, disks, ports. Every step may find its work already done. */
export async function releaseGuest(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<null, 'os_failed'>> {
  const killed = await context.deps.vmm.kill(spec.id)
  if (!killed.ok) return killed
  for (const { id } of spec.disks) {
    const detached = await context
      .ref(diskProtocol, id)
      .call('detach', { instance_id: spec.id }, time)
    if (!detached.ok) return err('os_failed', `disk ${id}: ${detached.detail}`)
  }
  for (const { id } of spec.nics) {
    const removed = await context.ref(vnicProtocol, id).call('remove', null, time)
    if (!removed.ok) return err('os_failed', `port ${id}: ${removed.detail}`)
  }
  return ok(null)
}
