/**
 * Who may do what. Roles are admin ⊃ collaborator ⊃ viewer on fleet, silo, organization, project;
 * what a role gives further down is in `inherited`. A resource that the caller may not read is
 * reported as absent, an action that is not allowed as forbidden.
 */
import { sql, type RawBuilder } from 'kysely'
import type { Actor, Services } from '../context.ts'
import { forbidden } from '#actors/http/errors.ts'
import { builtIn } from '../store/built-in.ts'
import { prepare } from '../store/prepare.ts'
import type { Tables } from '../store/schema.ts'

type ResourceType = Tables['role_assignment']['resource_type']
type RoleName = Tables['role_assignment']['role_name']
/** Ordered by power: 0 is no role. */
export type Power = 0 | 1 | 2 | 3
export const powers = { none: 0, viewer: 1, collaborator: 2, admin: 3 } as const

/**
 * As a column: the power of a user's strongest role on a resource, the user's own or of a group. Not an
 * aggregate: SQLite plans those anew for every value.
 */
export function assignedPower(
  user_id: string,
  type: ResourceType,
  id: string | RawBuilder<unknown>,
): RawBuilder<Power> {
  const groups = sql`select silo_group_id from silo_group_membership where silo_user_id = ${user_id}`
  const isTheirs = sql`(identity_id = ${user_id} or identity_id in (${groups}))`
  const isOnIt = sql`resource_type = ${sql.lit(type)} and resource_id = ${id} and ${isTheirs}`
  const has = (role: RoleName) =>
    sql`exists (select 1 from role_assignment where role_name = ${sql.lit(role)} and ${isOnIt})`
  const orElse = sql`when ${has('collaborator')} then 2 when ${has('viewer')} then 1 else 0`
  return sql`case when ${has('admin')} then 3 ${orElse} end`
}

type Whole = 'fleet' | 'silo'
const powerOn = (type: Whole) =>
  prepare((store, { user_id, id }: Record<'user_id' | 'id', string>) =>
    store.selectNoFrom(assignedPower(user_id, type, id).as('power')),
  )
const powerRows = { fleet: powerOn('fleet'), silo: powerOn('silo') } as const

async function assigned(
  { store }: Services,
  { user_id }: Actor,
  type: Whole,
  id: string,
): Promise<Power> {
  const [row] = await powerRows[type](store, { user_id, id })
  return row?.power ?? powers.none
}

const strongest = (all: readonly Power[]): Power =>
  all.reduce<Power>((most, power) => (power > most ? power : most), powers.none)

/** Collaborators of a parent administer what is in it; viewers view it. */
const inherited = (above: Power): Power => (above >= powers.collaborator ? powers.admin : above)

export const fleetPower = async (services: Services, actor: Actor): Promise<Power> =>
  await assigned(services, actor, 'fleet', builtIn.fleet)

export const siloPower = async (services: Services, actor: Actor): Promise<Power> =>
  await assigned(services, actor, 'silo', actor.silo_id)

/** What a caller may do to a silo: reading does not reach into it. */
export interface SiloAccess {
  readonly read: boolean
  /** Delete it, change its policy. */
  readonly modify: boolean
  /** Its users and identity providers: the one thing of a silo that the fleet's admins manage too. */
  readonly manage: boolean
}

export async function siloAccess(
  services: Services,
  actor: Actor,
  silo_id: string,
): Promise<SiloAccess> {
  const fleet = await fleetPower(services, actor)
  const own = await assigned(services, actor, 'silo', silo_id)
  const isAdmin = own === powers.admin
  return {
    read: actor.silo_id === silo_id || own > powers.none || fleet > powers.none,
    modify: isAdmin || fleet >= powers.collaborator,
    manage: isAdmin || fleet === powers.admin,
  }
}

/** The power of a caller's roles on a resource and on what it is in. */
export interface Assigned {
  readonly silo_power: Power
  readonly organization_power: Power
}

/** Power over an organization of the caller's own silo. */
export const organizationPower = ({ silo_power, organization_power }: Assigned): Power =>
  strongest([inherited(silo_power), organization_power])

/** Power over a project of the caller's own silo. */
export const projectPower = (on: Assigned & { readonly project_power: Power }): Power =>
  strongest([inherited(organizationPower(on)), on.project_power])

/** Ends the request with 403 when the power does not reach. */
export function demand(power: Power, needed: Power): void {
  if (power < needed) throw forbidden()
}

/** For what is looked up in the fleet: absent to those who may not read it, else 403 below `needed`. */
export async function demandOfFleet(
  services: Services,
  actor: Actor,
  { needed, absent }: { readonly needed: Power; readonly absent: Error },
): Promise<void> {
  const power = await fleetPower(services, actor)
  if (power === powers.none) throw absent
  demand(power, needed)
}

export async function demandFleet(services: Services, actor: Actor, needed: Power): Promise<void> {
  demand(await fleetPower(services, actor), needed)
}
