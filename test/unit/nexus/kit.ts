/** A whole Nexus in this process, with sleds whose actors are the real ones on simulated backends. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { consoleWatcher } from '#actors/console.ts'
import { disk } from '#actors/disk.ts'
import { instance } from '#actors/instance.ts'
import { makeServer } from '#actors/nexus/api/server.ts'
import type { NexusConfig } from '#actors/nexus/config.ts'
import type { Services } from '#actors/nexus/context.ts'
import { Publisher } from '#actors/nexus/networking/publisher.ts'
import { PartlyUsed } from '#actors/nexus/networking/partly-used.ts'
import { Member } from '#actors/nexus/member.ts'
import { nexus, type NexusDeps } from '#actors/nexus/nexus.ts'
import { routes } from '#actors/nexus/routes.ts'
import { Passwords } from '#actors/nexus/access/passwords.ts'
import { RequestCounts } from '#actors/http/requests.ts'
import type { CrashPoint } from '#actors/nexus/saga-execution.ts'
import { Sagas } from '#actors/nexus/saga.ts'
import { registeredSagas } from '#actors/nexus/sagas/registry.ts'
import { Sleds } from '#actors/nexus/sleds.ts'
import { openStore } from '#actors/nexus/store/open.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { network } from '#actors/network.ts'
import { vnic } from '#actors/vnic.ts'
import type { Ref } from '#runtime/actor/actor.ts'
import type { Protocol } from '#runtime/actor/protocol.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { simVmm } from '#native/sim/vmm.ts'
import { systemClock } from '#runtime/clock.ts'
import { sqlLeaseStore } from '#runtime/cluster/sql.ts'
import { defaultTiming } from '#runtime/cluster/timing.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { World } from '#test/kit/world.ts'
import { giveBack, newStore, statements } from './stores.ts'

export const privileged = 'oxide-spoof-001de000-05e4-4000-8000-000000004007'
export const unprivileged = 'oxide-spoof-001de000-05e4-4000-8000-000000060001'
export const project = '/organizations/myorg/projects/myproj'
const sled_ids = [
  '44444444-4444-4444-8444-444444444444',
  '44444444-4444-4444-8444-444444444445',
] as const
const [sled_id] = sled_ids

const config: NexusConfig = {
  id: '99999999-9999-4999-8999-999999999999',
  rack_id: '88888888-8888-4888-8888-888888888888',
  development: true,
  store: 'sqlite::memory:',
  external: [{ address: '127.0.0.1', port: 0 }],
  own_addresses: ['172.20.15.225', '172.20.15.226', '127.0.0.1'],
  wire: { path: 'unused' },
  control: 'unused',
  tls: hostFiles('unused'),
  internal_address: 'fd00:1122:3344:101::4',
  members: [
    { id: '99999999-9999-4999-8999-999999999999', internal_address: 'fd00:1122:3344:101::4' },
  ],
  sleds: [sled_id],
  dns_address: 'fd00:1122:3344:1::1',
  authn: {
    schemes: ['spoof', 'session_cookie', 'access_token'],
    session_idle_timeout_minutes: 60,
    session_absolute_timeout_minutes: 480,
  },
}

/** Sends what a node of a saga asks of a sled. */
export type Asking = <T>(message: string, ask: () => Promise<T>) => Promise<T>

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
  readonly json: any
}

/** Hashing at full strength is tested once, by itself. */
const cheapCost = { memory: 64, passes: 1, parallelism: 1 }

/** A sled: its actors, and the world that they see. */
class TestSled {
  readonly id: string
  /** Nexus is of the same host, so that what it names as its own is found. */
  readonly world = new World(systemClock, config.id)
  readonly block: ReturnType<typeof simBlock>
  readonly ports = simPorts()
  readonly vmm: ReturnType<typeof simVmm>

  /** `directory`: where other sleds ask this one. */
  constructor(id: string, directory: string, deps: NexusDeps) {
    this.id = id
    this.block = simBlock(null, directory)
    this.vmm = simVmm({ state: null, directory })
    this.world.add(disk, { block: this.block })
    this.world.add(vnic, { ports: this.ports })
    this.world.add(network, { ports: this.ports }, 'rack')
    this.world.add(instance, { vmm: this.vmm, sled_id: id, nexus_hosts: () => [config.id] })
    this.world.add(consoleWatcher, { vmm: this.vmm })
    this.world.add(nexus, deps, 'nexus')
  }
}

export class TestNexus {
  readonly sleds: readonly TestSled[]
  /** The sleds whose links are up. */
  connected: readonly string[]
  /** The way of what sagas ask of sleds, and reconciling does; null while nobody stands in it. */
  asking: Asking | null = null
  readonly store: Store
  /** Where sleds ask each other; null while there is one. */
  readonly #directory: string | null
  readonly #members: Member[] = []
  #server: FastifyInstance | null = null
  #services: Services | null = null
  /** Where its store is, when nobody else uses that. */
  #ownStore: string | null = null

  private constructor(store: Store, sleds: number) {
    this.store = store
    const directory = sleds === 1 ? null : mkdtempSync(join(tmpdir(), 'luge-nexus-'))
    this.#directory = directory
    const services = () => this.services
    const deps = {
      get services() {
        return services()
      },
      wake: () => undefined,
      warnings: () => [],
    }
    this.sleds = sled_ids.slice(0, sleds).map((id, index) => {
      if (directory === null) return new TestSled(id, '.', deps)
      const own = join(directory, String(index))
      mkdirSync(own)
      return new TestSled(id, own, deps)
    })
    this.connected = this.sleds.map(({ id }) => id)
  }

  get #first(): TestSled {
    const [first] = this.sleds
    assert.ok(first !== undefined, 'there is a sled')
    return first
  }
  get world() {
    return this.#first.world
  }
  get block() {
    return this.#first.block
  }
  get ports() {
    return this.#first.ports
  }
  get vmm() {
    return this.#first.vmm
  }

  get server(): FastifyInstance {
    assert.ok(this.#server !== null, 'it has started')
    return this.#server
  }

  get services(): Services {
    assert.ok(this.#services !== null, 'it has started')
    return this.#services
  }

  /** Ends those that were superseded; until then they act as if they did not know. */
  async retire(): Promise<void> {
    const old = this.#members.splice(0, this.#members.length - 1)
    for (const member of old) await member.stop()
  }

  /** As after kill -9: another Nexus serves over the same store and sled, and goes on with all sagas. */
  async restart(crash: CrashPoint = () => undefined): Promise<void> {
    await this.#serve(crash)
    await this.services.sagas.adopt()
    await this.services.sagas.recover()
  }

  /** Another member serves from now on, beside the one before. */
  async join(member_id: string): Promise<void> {
    await this.#serve(() => undefined, member_id)
  }

  async #serve(crash: CrashPoint, member_id = config.id): Promise<void> {
    this.#services = await this.makeServices(crash, member_id)
    this.#server = makeServer({ services: this.#services, routes })
  }

  /** On a store of its own unless `url` names one. */
  static async start(
    crash: CrashPoint = () => undefined,
    url: string | null = null,
    sleds: 1 | 2 = 1,
  ): Promise<TestNexus> {
    const own = url ?? (await newStore())
    const { store, ready } = openStore({
      url: own,
      clock: systemClock,
      log: memoryLog(),
    })
    await ready
    const started = new TestNexus(store, sleds)
    await started.#serve(crash)
    if (sleds > 1) await started.#announce()
    if (url === null) started.#ownStore = own
    return started
  }

  /** The same for one test: it is stopped when that ends, however it does. */
  static async during(
    t: TestContext,
    ...how: Parameters<typeof TestNexus.start>
  ): Promise<TestNexus> {
    const started = await TestNexus.start(...how)
    t.after(async () => {
      await started.stop()
    })
    return started
  }

  /** Services over the same store and sled, as a Nexus that starts anew has them. */
  async makeServices(
    crash: CrashPoint = () => undefined,
    member_id = config.id,
  ): Promise<Services> {
    const log = memoryLog(this.world.lines)
    // The kit sees to it that there is one at a time that acts: who comes later supersedes.
    const member = new Member({
      store: sqlLeaseStore(this.store),
      timing: defaultTiming,
      member_id,
      address: config.internal_address,
      supersede: true,
      clock: systemClock,
      log,
    })
    member.start()
    await member.ready()
    this.#members.push(member)
    const sagas = new Sagas({ log, member, known: registeredSagas, crash })
    const services: Services = {
      config: { ...config, sleds: this.sleds.map(({ id }) => id) },
      store: this.store.withPlugin(statements.plugin),
      clock: systemClock,
      random: systemRandom,
      log,
      sleds: new Sleds(
        (work) =>
          (protocol, id, host = null) => {
            const sled = this.sleds.find((one) => one.id === host) ?? this.#first
            const ref = sled.world.system.ref(protocol, id, null, work)
            const isRequests = work?.what.startsWith('saga ') === false
            return isRequests ? ref : this.#inTheWay(protocol, ref)
          },
        () => this.connected,
      ),
      member,
      sagas,
      fence: null,
      saga: null,
      publisher: new Publisher(),
      partlyUsed: new PartlyUsed(),
      requests: new RequestCounts(),
      passwords: new Passwords(cheapCost),
      tracer: null,
      work: null,
    }
    sagas.join(services)
    return services
  }

  #inTheWay<P extends Protocol>({ name: kind }: P, ref: Ref<P>): Ref<P> {
    return {
      call: async (name, request, options) => {
        const ask = async () => await ref.call(name, request, options)
        return this.asking === null ? await ask() : await this.asking(`${kind}.${name}`, ask)
      },
      cast: (name, request) => {
        ref.cast(name, request)
      },
    }
  }

  /** The sleds are known as if they had come up. */
  async #announce(): Promise<void> {
    const moment = { time_created_ms: 0, time_modified_ms: 0 }
    const { rack_id } = config
    for (const [index, { id }] of this.sleds.entries()) {
      const ip = `fd00:1122:3344:10${index + 1}::1`
      await this.store
        .insertInto('sled')
        .values({ id, rack_id, ip, port: 12_345, platform: 'sim', ...moment })
        .execute()
    }
  }

  async stop(): Promise<void> {
    await this.server.close()
    for (const { world, vmm } of this.sleds) {
      await world.stop()
      vmm.close()
    }
    if (this.#directory !== null) rmSync(this.#directory, { recursive: true, force: true })
    for (const member of this.#members) await member.stop()
    await this.store.destroy()
    if (this.#ownStore !== null) await giveBack(this.#ownStore)
  }

  /** A request with a JSON body, as the privileged user unless `token` says otherwise. */
  async call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    body?: unknown,
    token: string | null = privileged,
  ): Promise<Answer> {
    const payload = body === undefined ? {} : { payload: JSON.stringify(body) }
    return await this.raw({
      method,
      url,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...payload,
    })
  }

  async raw(request: {
    readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
    readonly url: string
    readonly headers?: Record<string, string>
    readonly payload?: string
  }): Promise<Answer> {
    const answer = await this.server.inject(request)
    const isJson = (answer.headers['content-type'] ?? '').startsWith('application/json')
    return {
      status: answer.statusCode,
      headers: answer.headers,
      text: answer.body,
      json: isJson && answer.body !== '' ? JSON.parse(answer.body) : null,
    }
  }

  /** Expects success and gives back the body. */
  async ok(method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, body?: unknown): Promise<any> {
    const answer = await this.call(method, url, body)
    assert.ok(answer.status < 300, `${method} ${url}: ${answer.status} ${answer.text}`)
    return answer.json
  }

  /** Organization, project, pool with a range, image: what the guide makes first. */
  async guide(): Promise<{ readonly image_id: string }> {
    const text = { description: 'x' }
    await this.ok('POST', '/organizations', { name: 'myorg', ...text })
    await this.ok('POST', '/organizations/myorg/projects', { name: 'myproj', ...text })
    await this.ok('POST', '/system/ip-pools', { name: 'mypool', ...text })
    await this.ok('POST', '/system/ip-pools/mypool/ranges/add', {
      first: '172.20.15.227',
      last: '172.20.15.239',
    })
    const image = await this.ok('POST', '/system/images', {
      name: 'alpine',
      ...text,
      block_size: 512,
      distribution: { name: 'alpine', version: 'propolis-blob' },
      source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
    })
    return { image_id: image.id }
  }
}

export const diskBody = (image_id: string, name = 'alpine', size = 1_073_741_824) => ({
  name,
  description: 'alpine.iso blob',
  block_size: 512,
  size,
  disk_source: { type: 'global_image', image_id },
})

export const instanceBody = (name = 'myinst') => ({
  name,
  description: 'my inst',
  hostname: name,
  memory: 1_073_741_824,
  ncpus: 2,
  disks: [{ type: 'attach', name: 'alpine' }],
  external_ips: [{ type: 'ephemeral' }],
})
