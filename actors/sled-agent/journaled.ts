/** What the sled was asked to have, as its actors have journaled it. */
import { Type, type Static, type TSchema } from 'typebox'
import { volumeSpec } from '#actors/disk.protocol.ts'
import { instanceRuntime, instanceSpec } from '#actors/instance.protocol.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'
import { unavailable } from '#actors/http/errors.ts'
import { uuid } from '#actors/schema.ts'
import { guestVnic, type GuestVnic } from '#actors/vnic.protocol.ts'
import { limits } from '#config/limits.ts'
import { fits } from '#runtime/schema.ts'
import type { SledAgentServices } from './route.ts'

const options = { timeout_ms: limits.zone_boot_ms_max }
const journal = ({ ref }: SledAgentServices) => ref(journalProtocol, 'sled')
const only = <S extends TSchema>(schema: S, value: unknown): Static<S>[] =>
  fits(schema, value) ? [value] : []

const record = Type.Object({ spec: instanceSpec, runtime: instanceRuntime })
export type InstanceRecord = Static<typeof record>

/** An instance; null when the sled has none of that id. Throws 503. */
export async function journaledInstance(
  services: SledAgentServices,
  id: string,
): Promise<InstanceRecord | null> {
  const read = await journal(services).call('get', { kind: 'instance', id }, options)
  if (!read.ok) throw unavailable()
  return only(record, read.value)[0] ?? null
}

const volume = Type.Object({
  spec: volumeSpec,
  attachment: Type.Union([Type.Object({ instance_id: uuid }), Type.Null()]),
})
export type VolumeRecord = Static<typeof volume>

/** A volume, of a disk or of what was copied from one; null when there is none of that id. Throws 503. */
export async function journaledVolume(
  services: SledAgentServices,
  id: string,
): Promise<VolumeRecord | null> {
  const read = await journal(services).call('get', { kind: 'disk', id }, options)
  if (!read.ok) throw unavailable()
  return only(volume, read.value)[0] ?? null
}

/** The ports of all guests. Throws 503. */
export async function journaledPorts(services: SledAgentServices): Promise<readonly GuestVnic[]> {
  const read = await journal(services).call('list', { kind: 'vnic' }, options)
  if (!read.ok) throw unavailable()
  return read.value.flatMap(({ document }) => only(guestVnic, document))
}
