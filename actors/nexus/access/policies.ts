/** Who has which role on the fleet, a silo, an organization, a project. */
import { implement } from '../api/route.ts'
import { demandFleet, powers, siloAccess } from './authz.ts'
import type { Services } from '../context.ts'
import { forbidden } from '#actors/http/errors.ts'
import { organizationOf, projectOf } from '../lookup.ts'
import { siloOf } from './silos.ts'
import { builtIn } from '../store/built-in.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

type Resource = Tables['role_assignment']['resource_type']
interface Assignment {
  readonly identity_type: 'silo_user' | 'silo_group'
  readonly identity_id: string
  readonly role_name: 'admin' | 'collaborator' | 'viewer'
}
interface Policy {
  readonly role_assignments: Assignment[]
}

async function policyOf(services: Services, type: Resource, id: string): Promise<Policy> {
  const rows = await services.store
    .selectFrom('role_assignment')
    .select(['identity_type', 'identity_id', 'role_name'])
    .where('resource_type', '=', type)
    .where('resource_id', '=', id)
    .orderBy('identity_id')
    .orderBy('role_name')
    .execute()
  const role_assignments = rows.map(({ identity_type, identity_id, role_name }) => ({
    identity_type: identity_type ?? 'silo_user',
    identity_id,
    role_name,
  }))
  return { role_assignments }
}

/** Puts these assignments in the place of all there were. */
async function replacePolicy(
  services: Services,
  resource: { readonly type: Resource; readonly id: string },
  policy: Policy,
): Promise<Policy> {
  const rows = new Map(
    policy.role_assignments.map(({ identity_type, identity_id, role_name }) => [
      `${identity_id} ${role_name}`,
      {
        resource_type: resource.type,
        resource_id: resource.id,
        identity_id,
        identity_type,
        role_name,
      },
    ]),
  )
  await transact(services, async (store) => {
    await store
      .deleteFrom('role_assignment')
      .where('resource_type', '=', resource.type)
      .where('resource_id', '=', resource.id)
      .execute()
    if (rows.size > 0) {
      await store
        .insertInto('role_assignment')
        .values([...rows.values()])
        .execute()
    }
  })
  return await policyOf(services, resource.type, resource.id)
}

export const policyRoutes = [
  implement('system_policy_view', async ({ services, actor }) => {
    await demandFleet(services, actor, powers.viewer)
    return await policyOf(services, 'fleet', builtIn.fleet)
  }),
  implement('system_policy_update', async ({ services, actor, body }) => {
    await demandFleet(services, actor, powers.admin)
    return await replacePolicy(services, { type: 'fleet', id: builtIn.fleet }, body)
  }),

  implement(
    'policy_view',
    async ({ services, actor }) =>
      // Everybody may read the silo they are of.
      await policyOf(services, 'silo', actor.silo_id),
  ),
  implement('policy_update', async ({ services, actor, body }) => {
    const { modify } = await siloAccess(services, actor, actor.silo_id)
    if (!modify) throw forbidden()
    return await replacePolicy(services, { type: 'silo', id: actor.silo_id }, body)
  }),
  implement('silo_policy_view', async (call) => {
    const silo = await siloOf(call, 'read')
    return await policyOf(call.services, 'silo', silo.id)
  }),
  implement('silo_policy_update', async (call) => {
    const silo = await siloOf(call, 'modify')
    return await replacePolicy(call.services, { type: 'silo', id: silo.id }, call.body)
  }),

  implement('organization_policy_view', async (call) => {
    const { id } = await organizationOf(call, powers.viewer)
    return await policyOf(call.services, 'organization', id)
  }),
  implement('organization_policy_update', async (call) => {
    const { id } = await organizationOf(call, powers.admin)
    return await replacePolicy(call.services, { type: 'organization', id }, call.body)
  }),
  implement('project_policy_view', async (call) => {
    const { id } = await projectOf(call, powers.viewer)
    return await policyOf(call.services, 'project', id)
  }),
  implement('project_policy_update', async (call) => {
    const { id } = await projectOf(call, powers.admin)
    return await replacePolicy(call.services, { type: 'project', id }, call.body)
  }),
]
