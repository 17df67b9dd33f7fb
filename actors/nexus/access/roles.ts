/** The roles there are, and the users that Nexus acts as itself: both are built in. */
import { pageOf } from '#actors/http/pagination.ts'
import { implement } from '../api/route.ts'
import { demandFleet, fleetPower, powers } from './authz.ts'
import type { Services } from '../context.ts'
import { notFound } from '#actors/http/errors.ts'
import { timestamp } from '../names.ts'
import { builtIn } from '../store/built-in.ts'

const each = (resource: string) =>
  ['admin', 'collaborator', 'viewer'].map((role) => ({
    name: `${resource}.${role}`,
    description: `May act as ${role} of a ${resource}`,
  }))
const byName = (a: { readonly name: string }, b: { readonly name: string }) =>
  a.name < b.name ? -1 : 1
const roles = [
  ...['fleet', 'silo', 'organization', 'project'].flatMap(each),
  { name: 'fleet.external-authenticator', description: 'Authenticates users of the external API' },
].toSorted(byName)

const users = [
  ['db-init', '1', 'used for seeding initial database data'],
  ['internal-api', '2', 'used for the internal API'],
  ['external-authn', '3', 'used for authenticating users of the external API'],
  ['internal-read', '4ead', 'used for reading privileged control plane data'],
  ['saga-recovery', '3a8a', 'used for resuming sagas'],
  ['service-balancer', 'bac3', 'used for balancing services'],
]
  .map(([name = '', id = '', description = '']) => ({
    id: `001de000-05e4-4000-8000-${id.padStart(12, '0')}`,
    name,
    description,
  }))
  .toSorted(byName)

/** Built-in users are as old as the store. */
async function userViews(services: Services) {
  const { time_created_ms } = await services.store
    .selectFrom('silo')
    .select('time_created_ms')
    .where('id', '=', builtIn.default_silo)
    .executeTakeFirstOrThrow()
  const time = timestamp(time_created_ms)
  return users.map((user) => ({ ...user, time_created: time, time_modified: time }))
}

function after<T extends { readonly name: string }>(
  all: readonly T[],
  page: { readonly after: string | null; readonly limit: number },
): readonly T[] {
  return all.filter(({ name }) => page.after === null || name > page.after).slice(0, page.limit)
}

export const roleRoutes = [
  implement('role_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    return pageOf(
      after(roles, page),
      page,
      (role) => role,
      ({ name }) => name,
    )
  }),
  implement('role_view', async ({ services, actor, path }) => {
    const name = path('role_name')
    const role = roles.find((known) => known.name === name)
    const power = await fleetPower(services, actor)
    if (role === undefined || power === powers.none) throw notFound('role-builtin', name)
    return role
  }),
  implement('system_user_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    const views = await userViews(services)
    return pageOf(
      after(views, page),
      page,
      (user) => user,
      ({ name }) => name,
    )
  }),
  implement('system_user_view', async ({ services, actor, path }) => {
    const name = path('user_name')
    const user = (await userViews(services)).find((known) => known.name === name)
    const power = await fleetPower(services, actor)
    if (user === undefined || power === powers.none) throw notFound('user-builtin', name)
    return user
  }),
]
