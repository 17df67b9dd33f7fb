/** Messages of a service zone: a container named `oxz_…` that outlives the supervisor. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ip, nullable, path, port } from '#actors/schema.ts'

export const zoneName = Type.String({ pattern: '^oxz_[a-z0-9_-]+$', maxLength: 64 })

export const zoneSpec = Type.Object({
  name: zoneName,
  /** The program and its arguments as seen inside; the program by its absolute path. */
  args: Type.Array(Type.String({ maxLength: 4096 }), { minItems: 1, maxItems: 256 }),
  env: Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 64 }),
  /** Host paths that the zone sees at `destination`; the system's own /usr, /lib … are added. */
  mounts: Type.Array(Type.Object({ source: path, destination: path, read_only: Type.Boolean() }), {
    maxItems: 32,
  }),
  /** Device nodes of the host that it may open. */
  devices: Type.Array(path, { maxItems: 8 }),
  /** Path of the network namespace it joins; null: a new one with nothing in it. */
  netns: nullable(path),
  /**
   * Sockets opened in the host's own network and handed over from descriptor 3 on, with
   * LISTEN_FDS set as systemd does: so a zone without a link to the host still serves there.
   */
  listen: Type.Array(Type.Object({ address: ip, port }), { maxItems: 4 }),
  /** Where its output goes. */
  log: path,
})
export type ZoneSpec = Static<typeof zoneSpec>

export const zoneStates = ['absent', 'created', 'running', 'stopped'] as const
export type ZoneState = (typeof zoneStates)[number]
export const zoneView = Type.Object({
  name: zoneName,
  state: Type.Enum(zoneStates),
  pid: nullable(Type.Integer()),
})
export type ZoneView = Static<typeof zoneView>

/** An actor's id is the zone's name. A zone that ends by itself is booted again, with back-off. */
export const zoneProtocol = protocol('zone', 1, {
  get: call(1, { request: nothing, reply: zoneView, errors: [], idempotent: true }),
  ensure: call(2, {
    request: zoneSpec,
    reply: zoneView,
    errors: ['address_taken', 'os_failed'],
    idempotent: true,
  }),
  remove: call(3, {
    request: nothing,
    reply: nothing,
    errors: ['os_failed'],
    lane: 'urgent',
    idempotent: true,
  }),
  /** Internal: looks whether it still runs. */
  check: call(4, { request: nothing, reply: nothing, errors: [], idempotent: true }),
})
