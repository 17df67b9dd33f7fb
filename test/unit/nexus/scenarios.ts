/** A scenario for every saga that is registered, and a stage on which it is cut off, fails or is taken over. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { internal } from '#actors/http/errors.ts'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, TestNexus, type Answer } from './kit.ts'
import { extentOf } from './extent.ts'

export interface Scene {
  readonly nexus: TestNexus
  readonly image_id: string
  /** A project of this case's own. */
  readonly project: string
  readonly url: string
}
export interface Scenario {
  /** How many sleds it takes; one otherwise. */
  readonly sleds?: 2
  /** Whether it does not matter on which of them disks are in the end. */
  readonly disksMove?: true
  /** What must be there before. */
  readonly prepare: (scene: Scene) => Promise<void>
  /** The request that runs the saga. */
  readonly request: (scene: Scene) => Promise<Answer>
}

const attached = { disks: [{ type: 'attach', name: 'alpine' }], external_ips: [] }
const snapshot = { name: 'taken', description: 'x', disk: 'alpine' }
const image = {
  name: 'made',
  description: 'x',
  block_size: 512,
}
const stopped = { ...attached, start: false }

async function makeProject({ nexus, project }: Scene): Promise<void> {
  await nexus.ok('POST', '/organizations/myorg/projects', { name: project, description: 'x' })
}
async function makeDisk(scene: Scene): Promise<void> {
  await makeProject(scene)
  await scene.nexus.ok('POST', `${scene.url}/disks`, diskBody(scene.image_id))
}
async function makeSnapshot(scene: Scene): Promise<void> {
  await makeDisk(scene)
  await scene.nexus.ok('POST', `${scene.url}/snapshots`, snapshot)
}
const createImage = async ({ nexus, url }: Scene): Promise<Answer> => {
  const { id } = await nexus.ok('GET', `${url}/snapshots/taken`)
  return await nexus.call('POST', `${url}/images`, { ...image, source: { type: 'snapshot', id } })
}
const makeInstance =
  (body: object, run_state: string) =>
  async (scene: Scene): Promise<void> => {
    await makeDisk(scene)
    const { nexus, url } = scene
    await nexus.ok('POST', `${url}/instances`, { ...instanceBody('box'), ...body })
    await until(`it is ${run_state}`, 5_000, async () =>
      (await nexus.ok('GET', `${url}/instances/box`)).run_state === run_state ? true : null,
    )
  }
const onInstance =
  (verb: string) =>
  async ({ nexus, url }: Scene) =>
    await nexus.call('POST', `${url}/instances/box/${verb}`)

/** Two disks, each on a sled of its own. */
async function makeDisks(scene: Scene): Promise<void> {
  const { nexus } = scene
  const [here, there] = nexus.sleds
  assert.ok(here !== undefined && there !== undefined)
  await makeProject(scene)
  for (const [name, sled] of [
    ['alpine', here],
    ['far', there],
  ] as const) {
    nexus.connected = [sled.id]
    await nexus.ok('POST', `${scene.url}/disks`, diskBody(scene.image_id, name))
  }
  nexus.connected = [here.id, there.id]
}
const both = {
  disks: ['alpine', 'far'].map((name) => ({ type: 'attach', name })),
  external_ips: [],
}

/** One at least for each saga, which is named before the comma; a saga without one fails the test below. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  'disk-create': {
    prepare: makeProject,
    request: async ({ nexus, url, image_id }) =>
      await nexus.call('POST', `${url}/disks`, diskBody(image_id)),
  },
  'disk-delete': {
    prepare: makeDisk,
    request: async ({ nexus, url }) => await nexus.call('DELETE', `${url}/disks/alpine`),
  },
  'image-create': { prepare: makeSnapshot, request: createImage },
  'image-delete': {
    prepare: async (scene) => {
      await makeSnapshot(scene)
      await createImage(scene)
    },
    request: async ({ nexus, url }) => await nexus.call('DELETE', `${url}/images/made`),
  },
  'instance-create': {
    prepare: makeDisk,
    request: async ({ nexus, url, image_id }) =>
      await nexus.call('POST', `${url}/instances`, {
        ...instanceBody('box'),
        disks: [
          { type: 'attach', name: 'alpine' },
          { type: 'create', ...diskBody(image_id, 'second') },
        ],
      }),
  },
  'instance-delete': {
    prepare: makeInstance(stopped, 'stopped'),
    request: async ({ nexus, url }) => await nexus.call('DELETE', `${url}/instances/box`),
  },
  'instance-create, with disks of two sleds': {
    sleds: 2,
    disksMove: true,
    prepare: makeDisks,
    request: async ({ nexus, url }) =>
      await nexus.call('POST', `${url}/instances`, { ...instanceBody('box'), ...both }),
  },
  'instance-start, with disks of two sleds': {
    sleds: 2,
    disksMove: true,
    prepare: async (scene) => {
      await makeDisks(scene)
      const body = { ...instanceBody('box'), ...both, start: false }
      await scene.nexus.ok('POST', `${scene.url}/instances`, body)
    },
    request: onInstance('start'),
  },
  'instance-migrate': {
    sleds: 2,
    prepare: async (scene) => {
      const { nexus } = scene
      const [here, there] = nexus.sleds
      assert.ok(here !== undefined && there !== undefined)
      nexus.connected = [here.id]
      await makeInstance({ ...attached, external_ips: [{ type: 'ephemeral' }] }, 'running')(scene)
      nexus.connected = [here.id, there.id]
    },
    request: async ({ nexus, url }) =>
      await nexus.call('POST', `${url}/instances/box/migrate`, { dst_sled_id: nexus.sleds[1]?.id }),
  },
  'instance-start': { prepare: makeInstance(stopped, 'stopped'), request: onInstance('start') },
  'instance-stop': { prepare: makeInstance(attached, 'running'), request: onInstance('stop') },
  'instance-reboot': { prepare: makeInstance(attached, 'running'), request: onInstance('reboot') },
  'project-create': {
    prepare: async () => undefined,
    request: async ({ nexus, project }) =>
      await nexus.call('POST', '/organizations/myorg/projects', {
        name: project,
        description: 'x',
      }),
  },
  'snapshot-create': {
    prepare: makeDisk,
    request: async ({ nexus, url }) => await nexus.call('POST', `${url}/snapshots`, snapshot),
  },
  'snapshot-delete': {
    prepare: makeSnapshot,
    request: async ({ nexus, url }) => await nexus.call('DELETE', `${url}/snapshots/taken`),
  },
  'vpc-create': {
    prepare: makeProject,
    request: async ({ nexus, url }) =>
      await nexus.call('POST', `${url}/vpcs`, { name: 'made', description: 'x', dns_name: 'made' }),
  },
}

/** What happens at a point of a saga's way. */
export interface Cut {
  readonly at: string
  readonly when: 'before' | 'after'
  readonly does: 'crash' | 'fail' | 'take over'
}

export const cut = (at: string, when: Cut['when'], does: Cut['does']): Cut => ({ at, when, does })
export const nameOf = ({ at, when, does }: Cut) => `${does} ${when} ${at}`

/** Does what it is armed with, once each, to the sagas that run meanwhile. */
class Saboteur {
  readonly #nexus: () => TestNexus
  cuts: readonly Cut[] = []

  constructor(nexus: () => TestNexus) {
    this.#nexus = nexus
  }

  readonly point = async (at: string, when: 'before' | 'after'): Promise<void> => {
    const due = this.cuts.find((armed) => armed.at === at && armed.when === when)
    if (due === undefined) return
    this.cuts = this.cuts.filter((armed) => armed !== due)
    if (due.does === 'crash') throw new SagaCrash('as asked')
    if (due.does === 'fail') throw internal()
    await this.#nexus().restart()
  }
}

export class Stage {
  readonly nexus: TestNexus
  readonly #saboteur: Saboteur
  readonly #image_id: string
  #cases = 0

  private constructor(nexus: TestNexus, saboteur: Saboteur, image_id: string) {
    this.nexus = nexus
    this.#saboteur = saboteur
    this.#image_id = image_id
  }

  static async open(t: TestContext, sleds: 1 | 2): Promise<Stage> {
    let made: TestNexus | null = null
    const saboteur = new Saboteur(() => {
      assert.ok(made !== null)
      return made
    })
    made = await TestNexus.during(t, saboteur.point, null, sleds)
    const { image_id } = await made.guide()
    await made.ok('POST', '/system/ip-pools/mypool/ranges/add', {
      first: '10.1.0.1',
      last: '10.1.3.254',
    })
    return new Stage(made, saboteur, image_id)
  }

  /** The params of the saga of this name that was begun last. */
  async paramsOf(name: string): Promise<unknown> {
    const { params } = await this.nexus.store
      .selectFrom('saga')
      .select('params')
      .where('name', '=', name)
      .orderBy('time_created_ms', 'desc')
      .executeTakeFirstOrThrow()
    return JSON.parse(params)
  }

  /** Makes what a scenario needs, in a project of its own; the cuts are armed from then on. */
  async begin(scenario: Scenario, cuts: readonly Cut[]) {
    this.#cases += 1
    const project = `p${this.#cases}`
    const url = `/organizations/myorg/projects/${project}`
    const scene: Scene = { nexus: this.nexus, image_id: this.#image_id, project, url }
    await scenario.prepare(scene)
    const extent = async () => {
      const lines = await extentOf(this.nexus, project)
      return scenario.disksMove === true ? placeless(lines) : lines
    }
    const before = await extent()
    this.#saboteur.cuts = cuts
    return { scene, before, extent }
  }

  /** Another Nexus takes over, whatever the one before believes, and ends all sagas; no cut is left. */
  async takeOver(): Promise<void> {
    await this.nexus.restart(this.#saboteur.point)
    assert.deepEqual(this.#saboteur.cuts, [], 'every cut was made')
    const sagas = await this.nexus.store.selectFrom('saga').select(['name', 'state']).execute()
    assert.deepEqual(
      sagas.filter(({ state }) => state !== 'succeeded' && state !== 'failed'),
      [],
    )
  }

  /** Plays a scenario with these cuts; gives back what there was before, and what there is in the end. */
  async play(scenario: Scenario, cuts: readonly Cut[]) {
    const { scene, before, extent } = await this.begin(scenario, cuts)
    const { status } = await scenario.request(scene)
    assert.deepEqual(this.#saboteur.cuts, [], 'every cut was made')
    await this.takeOver()
    await this.nexus.retire()
    return { before, status, extent }
  }
}

/** Waits for what the guests do by themselves. */
export async function assertBecomes(
  what: string,
  wanted: readonly string[],
  look: () => Promise<readonly string[]>,
): Promise<void> {
  let last: readonly string[] = []
  await until(what, 5_000, async () => {
    last = await look()
    return JSON.stringify(last) === JSON.stringify(wanted) ? true : null
  }).catch(() => {
    assert.deepEqual(last, wanted, what)
  })
}

/** The same lines, where disks that are on the sled that their record names, and only there, are anywhere. */
export function placeless(lines: readonly string[]): readonly string[] {
  const near = new Set<string>()
  for (const line of lines) {
    const [, name, sled] = /^disk (\S+) is of sled (\d)$/.exec(line) ?? []
    const held = lines.filter((other) => other.startsWith(`disk ${name} on sled`))
    if (held.length !== 1 || !held[0]?.startsWith(`disk ${name} on sled ${sled} `)) continue
    for (const one of [line, ...held]) near.add(one)
  }
  return lines.map((line) => (near.has(line) ? line.replace(/sled \d/, 'its sled') : line))
}

/** What a project has that does not stay so. */
export const moving = /starting|stopping|rebooting|creating|migrating/
