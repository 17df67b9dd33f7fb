/**
 * Who answers: `server.ts luge STORE` is Nexus' server, all of it but the sleds; `server.ts fastify STORE` is
 * a bare fastify with the same reads of the same store, and nothing else: nobody is authenticated, nothing
 * is looked up or checked, and the rows are answered as they were read.
 */
import { fastify, type FastifyInstance } from 'fastify'
import { makeServer } from '#actors/nexus/api/server.ts'
import type { NexusConfig } from '#actors/nexus/config.ts'
import type { Services } from '#actors/nexus/context.ts'
import { Publisher } from '#actors/nexus/networking/publisher.ts'
import { PartlyUsed } from '#actors/nexus/networking/partly-used.ts'
import { Passwords, standardCost } from '#actors/nexus/access/passwords.ts'
import { RequestCounts } from '#actors/http/requests.ts'
import { routes } from '#actors/nexus/routes.ts'
import { Sagas } from '#actors/nexus/saga.ts'
import { Sleds } from '#actors/nexus/sleds.ts'
import { Member } from '#actors/nexus/member.ts'
import { sqlLeaseStore } from '#runtime/cluster/sql.ts'
import { defaultTiming } from '#runtime/cluster/timing.ts'
import { openStore } from '#actors/nexus/store/open.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { systemClock } from '#runtime/clock.ts'
import { stderrLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { serveNothing, serveOrders } from '../peers/orders.ts'
import { project_id } from './data.ts'

const log = stderrLog('bench')

async function nexus(store: Store, url: string): Promise<FastifyInstance> {
  const id = systemRandom.uuid()
  const internal_address = 'fd00:1122:3344:101::4'
  const config: NexusConfig = {
    id,
    members: [{ id, internal_address }],
    rack_id: '88888888-8888-4888-8888-888888888888',
    development: true,
    store: url,
    external: [{ address: '127.0.0.1', port: 0 }],
    own_addresses: [],
    wire: { path: 'unused' },
    control: 'unused',
    tls: hostFiles('unused'),
    internal_address,
    sleds: [],
    dns_address: 'fd00:1122:3344:1::1',
    authn: {
      schemes: ['session_cookie', 'access_token'],
      session_idle_timeout_minutes: 60,
      session_absolute_timeout_minutes: 480,
    },
  }
  const member = new Member({
    store: sqlLeaseStore(store),
    timing: defaultTiming,
    member_id: id,
    address: internal_address,
    supersede: true,
    clock: systemClock,
    log,
  })
  member.start()
  await member.ready()
  const services: Services = {
    config,
    store,
    clock: systemClock,
    random: systemRandom,
    log,
    sleds: new Sleds(
      () => () => {
        throw new Error('there are no sleds here')
      },
      () => [],
    ),
    member,
    fence: null,
    saga: null,
    sagas: new Sagas({ log, member, known: [] }),
    publisher: new Publisher(),
    partlyUsed: new PartlyUsed(),
    requests: new RequestCounts(),
    passwords: new Passwords(standardCost),
    tracer: null,
    work: null,
  }
  return makeServer({ services, routes })
}

function bare(store: Store): FastifyInstance {
  const server = fastify()
  const project = '/organizations/:organization/projects/:project'
  server.get(`${project}/instances`, async () => ({
    items: await store
      .selectFrom('instance')
      .selectAll()
      .where('project_id', '=', project_id)
      .where('time_deleted_ms', 'is', null)
      .orderBy('name', 'asc')
      .limit(100)
      .execute(),
    next_page: null,
  }))
  server.get<{ Params: { readonly name: string } }>(
    `${project}/instances/:name`,
    async ({ params }) =>
      await store
        .selectFrom('instance')
        .selectAll()
        .where('project_id', '=', project_id)
        .where('name', '=', params.name)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirstOrThrow(),
  )
  return server
}

const [, , kind, url = ''] = process.argv
const { store, ready } = openStore({ url, clock: systemClock, log })
await ready
const server = kind === 'luge' ? await nexus(store, url) : bare(store)
await serveOrders(serveNothing, await server.listen({ host: '127.0.0.1', port: 0 }))
