/** Messages of a vnic: a guest's port into its VPC (OPTE's part), or a zone's control link. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { cidr, fence, ip, ipv4, mac, nullable, path, port, uuid } from '#actors/schema.ts'

/** A firewall rule whose names are already resolved (sled-agent.json, `VpcFirewallRule`). */
export const firewallRule = Type.Object({
  status: Type.Union([Type.Literal('enabled'), Type.Literal('disabled')]),
  direction: Type.Union([Type.Literal('inbound'), Type.Literal('outbound')]),
  /** NICs that the rule is for; empty means all of the VPC. */
  targets: Type.Array(Type.Object({ mac, vni: Type.Integer() }), { maxItems: 4096 }),
  filter_hosts: nullable(Type.Array(cidr, { maxItems: 4096 })),
  /** `"80"` or `"1-100"`. */
  filter_ports: nullable(Type.Array(Type.String({ maxLength: 11 }), { maxItems: 256 })),
  filter_protocols: nullable(
    Type.Array(Type.Union([Type.Literal('TCP'), Type.Literal('UDP'), Type.Literal('ICMP')])),
  ),
  action: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
  priority: Type.Integer({ minimum: 0, maximum: 65_535 }),
})
export type FirewallRule = Static<typeof firewallRule>

export const sourceNat = Type.Object({ ip: ipv4, first_port: port, last_port: port })
export type SourceNat = Static<typeof sourceNat>

/** A guest's port. Its gateway is the subnet's first usable address (spec/01 §12). */
export const guestVnic = Type.Object({
  kind: Type.Literal('guest'),
  id: uuid,
  instance_id: uuid,
  vni: Type.Integer({ minimum: 1, maximum: 0xffffff }),
  subnet: cidr,
  ip: ipv4,
  mac,
  primary: Type.Boolean(),
  slot: Type.Integer({ minimum: 0, maximum: 7 }),
  hostname: Type.String({ maxLength: 63 }),
  source_nat: nullable(sourceNat),
  external_ips: Type.Array(ipv4, { maxItems: 32 }),
  firewall_rules: Type.Array(firewallRule, { maxItems: 4096 }),
})
export type GuestVnic = Static<typeof guestVnic>

/** A service zone's link on the underlay, `oxControlService<n>`, in a namespace of the zone's own. */
export const controlVnic = Type.Object({
  kind: Type.Literal('control'),
  /** `oxControlService0` … */
  id: Type.String({ pattern: '^oxControl[A-Za-z]+[0-9]+$', maxLength: 15 + 8 }),
  zone: Type.String({ pattern: '^oxz_[a-z0-9_-]+$', maxLength: 64 }),
  address: cidr,
})
export type ControlVnic = Static<typeof controlVnic>

export const vnicSpec = Type.Union([guestVnic, controlVnic])
export type VnicSpec = Static<typeof vnicSpec>

export const vnicView = Type.Object({
  id: Type.String(),
  /** The link's name inside `netns`: `opte0`, `oxControlService0` … */
  link: Type.String(),
  /** Where it is: the path of a network namespace; null in sim. */
  netns: nullable(path),
  addresses: Type.Array(ip),
})
export type VnicView = Static<typeof vnicView>

/** An actor's id is the vnic's `id`. */
export const vnicProtocol = protocol('vnic', 3, {
  get: call(1, { request: nothing, reply: nullable(vnicView), errors: [], idempotent: true }),
  /** Makes the world so; called again with another spec it changes what differs. */
  ensure: call(2, {
    request: vnicSpec,
    reply: vnicView,
    errors: ['address_taken', 'no_space', 'os_failed'],
    idempotent: true,
  }),
  set_rules: call(3, {
    request: Type.Object({ firewall_rules: Type.Array(firewallRule, { maxItems: 4096 }) }),
    reply: nothing,
    errors: ['not_found', 'os_failed'],
    idempotent: true,
  }),
  remove: call(4, {
    request: nothing,
    reply: nothing,
    errors: ['os_failed'],
    lane: 'urgent',
    idempotent: true,
  }),
  /** Internal: makes what should be there and is not. */
  check: call(5, { request: nothing, reply: nothing, errors: [], idempotent: true }),
  /** Where another sled has a guest's port's flows from. */
  offer: call(6, {
    request: nothing,
    reply: Type.Object({ address: path }),
    errors: ['not_found', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** Goes on with the flows of the port that another sled offers, whose guest comes here and stands still. */
  adopt: call(7, {
    request: Type.Object({ address: path, fence }),
    reply: nothing,
    errors: ['not_found', 'source_gone', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 3,
  }),
})
