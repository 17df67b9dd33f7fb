/**
 * Who may do what. Roles are admin ⊃ collaborator ⊃ viewer on fleet, silo, organization, project;
 * what a role gives further down is in `inherited`. A resource that the caller may not read is
 * reported as absent, an action that is not allowed as forbidden.
 */
import type { Actor, Services } from '../context.ts'
import { forbidden } from '#actors/http/errors.ts'
import { builtIn } from '../store/built-in.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, Tables } from '../store/schema.ts'

type ResourceType = Tables['role_assignment']['resource_type']
type RoleName = Tables['role_assignment']['role_name']
/** Ordered by power: 0 is no role. */
export type Power = 0 | 1 | 2 | 3
export const powers = { none: 0, viewer: 1, collaborator: 2, admin: 3 } as const

const powerOf: Readonly<Record<RoleName, Power>> = { viewer: 1, collaborator: 2, admin: 3 }

/** Roles on several resources at once: what decides about a request is read by one statement. */
const rolesOn = prepare(
  (store: Store, { identities, ids }: Record<'identities' | 'ids', readonly string[]>) =>
    store
      .selectFrom('role_assignment')
      .select(['resource_type', 'resource_id', 'role_name'])
      .where('identity_id', 'in', identities)
      .where('resource_type', 'in', ['fleet', 'silo', 'organization', 'project'])
      .where('resource_id', 'in', ids),
)

type Ids = Readonly<Partial<Record<ResourceType, string>>>

/** The strongest role of a caller on each of these resources. */
async function assignedOn(
  { store }: Services,
  { identities }: Actor,
  wanted: Ids,
): Promise<(type: ResourceType) => Power> {
  const rows = await rolesOn(store, { identities, ids: Object.values(wanted) })
  return (type) =>
    strongest(
      rows
        .filter((row) => row.resource_type === type && row.resource_id === wanted[type])
        .map(({ role_name }) => powerOf[role_name]),
    )
}

const assigned = async (
  services: Services,
  actor: Actor,
  type: ResourceType,
  id: string,
): Promise<Power> => (await assignedOn(services, actor, { [type]: id }))(type)

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

/** Power over an organization of the caller's own silo. */
export async function organizationPower(
  services: Services,
  actor: Actor,
  organization_id: string,
): Promise<Power> {
  const on = await assignedOn(services, actor, {
    silo: actor.silo_id,
    organization: organization_id,
  })
  return strongest([inherited(on('silo')), on('organization')])
}

export async function projectPower(
  services: Services,
  actor: Actor,
  ids: { readonly organization_id: string; readonly project_id: string },
): Promise<Power> {
  const on = await assignedOn(services, actor, {
    silo: actor.silo_id,
    organization: ids.organization_id,
    project: ids.project_id,
  })
  const above = strongest([inherited(on('silo')), on('organization')])
  return strongest([inherited(above), on('project')])
}

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
