/** Projects and VPCs whose creation is cut off or fails at every node: all of it remains, or nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { until } from '#test/kit/rack.ts'
import { project, TestNexus } from './kit.ts'

const text = { description: 'x' }
const parts = ['vpc', 'system_router', 'default_route', 'firewall_rules', 'default_subnet']
const sagas = [
  {
    name: 'vpc-create',
    nodes: parts,
    url: `${project}/vpcs`,
    body: { name: 'made', ...text, dns_name: 'made' },
    /** Rows of project, VPC, router, route, rule and subnet that it adds. */
    all: [0, 1, 1, 1, 4, 1],
  },
  {
    name: 'project-create',
    nodes: ['project', ...parts.map((part) => `default_${part}`)],
    url: '/organizations/myorg/projects',
    body: { name: 'made', ...text },
    all: [1, 1, 1, 1, 4, 1],
  },
] as const
const nothing = [0, 0, 0, 0, 0, 0]

type Cut = 'crash before' | 'crash after' | 'fail'
class Saboteur {
  armed: { readonly node: string; readonly cut: Cut } | null = null
  readonly seen: string[] = []
  readonly point = (node: string, when: 'before' | 'after'): void => {
    if (when === 'before') this.seen.push(node)
    if (node !== this.armed?.node) return
    if (this.armed.cut === 'fail' && when === 'before') throw new Error('as asked')
    if (this.armed.cut === `crash ${when}`) throw new SagaCrash('as asked')
  }
}

async function counts(nexus: TestNexus): Promise<readonly number[]> {
  const tables = [
    'project',
    'vpc',
    'vpc_router',
    'router_route',
    'vpc_firewall_rule',
    'vpc_subnet',
  ] as const
  const found: number[] = []
  for (const table of tables) {
    const rows = await nexus.store
      .selectFrom(table)
      .select('id')
      .where('time_deleted_ms', 'is', null)
      .execute()
    found.push(rows.length)
  }
  return found
}
const added = (now: readonly number[], before: readonly number[]) =>
  now.map((count, index) => count - (before[index] ?? 0))

for (const { name, nodes, url, body, all } of sagas) {
  test(`${name} has a node for each part`, async (t) => {
    const saboteur = new Saboteur()
    const nexus = await TestNexus.during(t, saboteur.point)
    await nexus.guide()
    const before = await counts(nexus)
    saboteur.seen.length = 0
    await nexus.ok('POST', url, body)
    assert.deepEqual(saboteur.seen, nodes)
    assert.deepEqual(added(await counts(nexus), before), all)
  })

  // All its nodes are one transaction, which begins the saga and ends it.
  test(`${name}, cut off before any node: there is nothing; after any: all of it`, async (t) => {
    const saboteur = new Saboteur()
    const nexus = await TestNexus.during(t, saboteur.point)
    await nexus.guide()
    for (const [at, node] of nodes.entries()) {
      for (const cut of ['crash before', 'crash after'] as const) {
        const before = await counts(nexus)
        saboteur.armed = { node, cut }
        const own = { ...body, name: `${cut.replace(' ', '-')}-${at}` }
        assert.equal((await nexus.call('POST', url, own)).status, 500)
        saboteur.armed = null
        await nexus.restart(saboteur.point)
        const [there, status] = cut === 'crash after' ? [all, 200] : [nothing, 404]
        assert.deepEqual(added(await counts(nexus), before), there, `${cut} ${node}`)
        assert.equal((await nexus.call('GET', `${url}/${own.name}`)).status, status)
      }
    }
    const states = await nexus.store.selectFrom('saga').select('state').execute()
    assert.ok(states.every(({ state }) => state === 'succeeded'))
  })

  test(`${name}, failing at any node: nothing remains and the name is free`, async (t) => {
    const saboteur = new Saboteur()
    const nexus = await TestNexus.during(t, saboteur.point)
    await nexus.guide()
    const before = await counts(nexus)
    for (const node of nodes) {
      saboteur.armed = { node, cut: 'fail' }
      const answer = await nexus.call('POST', url, body)
      assert.deepEqual([answer.status, answer.json.message], [500, 'Internal Server Error'])
      assert.deepEqual(added(await counts(nexus), before), nothing, node)
    }
    saboteur.armed = null
    await nexus.ok('POST', url, body)
    assert.deepEqual(added(await counts(nexus), before), all)
    const taken = await nexus.call('POST', url, body)
    assert.equal(taken.json.error_code, 'ObjectAlreadyExists')
    assert.deepEqual(added(await counts(nexus), before), all)
  })
}

test('a project that is deleted while it is made leaves nothing', async (t) => {
  const nexus: TestNexus = await TestNexus.during(t)
  await nexus.guide()
  const before = await counts(nexus)
  const url = '/organizations/myorg/projects'
  for (let turn = 0; turn < 4; turn += 1) {
    const made = nexus.call('POST', url, { name: 'fleeting', ...text })
    await until('it is deleted', 5_000, async () => {
      const { status } = await nexus.call('DELETE', `${url}/fleeting`)
      return status === 204 ? true : null
    })
    const { status } = await made
    assert.ok(status === 201 || status === 404, String(status))
    assert.deepEqual(added(await counts(nexus), before), nothing, `turn ${turn}: ${status}`)
  }
})
