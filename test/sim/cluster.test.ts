/**
 * Three members of Nexus on one PostgreSQL, while members are killed, the database is restarted and its
 * connections are cut: what a client was told is done is there, no saga stays unfinished, the sled has
 * nothing that nobody knows of, and background tasks are one member's at a time.
 *
 * LUGE_CLUSTER_CHAOS_S: for how long there is chaos; 12 by default.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readGuests } from '#native/sim/vmm.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { attempt, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const chaos_ms = Number(process.env['LUGE_CLUSTER_CHAOS_S'] ?? '12') * 1_000
const settle_ms_max = 60_000
const project = '/organizations/myorg/projects/myproj'
const members = ['oxz_nexus', 'oxz_nexus2', 'oxz_nexus3']

let postgres: Postgres
let rack: TestRack
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
  rack = new TestRack('sim', url, members.length)
  await rack.up()
  await rack.prepare()
})
after(async () => {
  await rack.destroy()
  await postgres.stop()
})

/** The member that the n-th request goes to. */
const memberFor = (turn: number): number => turn % members.length

test('any member serves any request, and status and DNS name all of them', async () => {
  for (const turn of members.keys()) {
    assert.equal((await rack.ask(memberFor(turn), 'GET', project)).status, 200)
  }
  const words = ['rack', 'status', '--json', '--state', rack.state]
  const status = JSON.parse(attempt(join(repository, 'tools/luge'), words).stdout)
  assert.deepEqual(
    status.members.map(({ external, why }: { external: string; why: string | null }) => [
      external,
      why,
    ]),
    rack.ready?.nexus.map((external) => [external, null]),
  )
  const [address = '', port = ''] = rack.ready?.dns.split(':') ?? []
  const name = '_nexus._tcp.control-plane.oxide.internal'
  const listed = (await sh('kdig', ['+short', `@${address}`, '-p', port, name, 'SRV']))
    .trim()
    .split('\n')
  assert.equal(listed.length, members.length, listed.join('\n'))
})

const luge = (...args: string[]) =>
  attempt(join(repository, 'tools/luge'), ['rack', 'up', '--platform', 'sim', ...args])

test('more members than SQLite serves are refused, and a rack keeps its number', () => {
  const state = join(rack.state, 'never')
  const refused = luge('--state', state, '--nexus', '2', '--store', 'sqlite')
  assert.match(refused.stderr, /^luge: --nexus 2: SQLite serves one member of Nexus/)
  const other = luge('--state', rack.state, '--nexus', '2')
  assert.match(other.stderr, /has --nexus 3: take it down first/)
})

/** What a client knows of the names it has used: only what it was told counts. */
class Client {
  readonly known = new Map<string, 'there' | 'gone' | 'unknown'>()
  readonly number: number
  #turn = 0

  constructor(number: number) {
    this.number = number
    this.#turn = number
  }

  async work(isOver: () => boolean): Promise<void> {
    for (let round = 0; !isOver(); round += 1) {
      const name = `c${this.number}-${round}`
      await this.#make(`${project}/disks`, `d-${name}`, {
        size: 1_073_741_824,
        disk_source: { type: 'blank', block_size: 512 },
      })
      await this.#make(`${project}/instances`, name, {
        hostname: name,
        memory: 1_073_741_824,
        ncpus: 1,
        network_interfaces: { type: 'none' },
        disks: [
          {
            type: 'create',
            name: `own-${name}`,
            description: 'x',
            size: 1_073_741_824,
            disk_source: { type: 'blank', block_size: 512 },
          },
        ],
      })
      await this.#make('/organizations/myorg/projects', `p-${name}`, {})
      if (round % 2 === 0) await this.#remove(`${project}/disks/d-${name}`)
      if (round % 3 === 0) {
        await this.#ask('POST', `${project}/instances/${name}/stop`)
        await sleep(50)
        await this.#remove(`${project}/instances/${name}`)
      }
    }
  }

  async #make(path: string, name: string, body: object): Promise<void> {
    const { status } = await this.#ask('POST', path, { name, description: 'x', ...body })
    this.#note(`${path}/${name}`, status === 201 ? 'there' : 'unknown')
  }

  async #remove(path: string): Promise<void> {
    const { status } = await this.#ask('DELETE', path)
    // What was refused in words is there still.
    if (status !== 400) this.#note(path, status === 204 ? 'gone' : 'unknown')
  }

  #note(path: string, fate: 'there' | 'gone' | 'unknown'): void {
    this.known.set(path, fate)
  }

  async #ask(method: 'POST' | 'DELETE', path: string, body?: unknown) {
    this.#turn += 1
    const answer = await rack.ask(memberFor(this.#turn), method, path, body)
    if (answer.status === 0 || answer.status >= 500) await sleep(100)
    return answer
  }
}

/** Faults one after the other, each a second and a half apart. */
async function chaos(end_at: number): Promise<number> {
  let faults = 0
  for (; Date.now() < end_at; faults += 1) {
    const victim = members[faults % members.length] ?? ''
    switch (faults % 4) {
      case 0:
      case 2:
        process.kill(rack.zonePid(victim), 'SIGKILL')
        break
      case 1:
        await postgres.psql(
          url,
          'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()',
        )
        break
      default:
        await postgres.kill()
        await sleep(300)
        await postgres.start()
    }
    await sleep(1_500)
  }
  return faults
}

interface Sample {
  readonly name: string
  readonly generation: number
  readonly member: string
}

/** Who ran each task last, again and again. */
async function watchTasks(isOver: () => boolean): Promise<readonly Sample[]> {
  const samples: Sample[] = []
  while (!isOver()) {
    const said = await postgres
      .psql(url, 'select name, generation, member from background_task order by name')
      .catch(() => '')
    for (const line of said.split('\n').filter(Boolean)) {
      const [name = '', generation = '', member = ''] = line.split('|')
      samples.push({ name, generation: Number(generation), member })
    }
    await sleep(200)
  }
  return samples
}

const readSled = (file: string): any =>
  JSON.parse(readFileSync(join(rack.state, 'sled1', file), 'utf8'))

const without = (some: ReadonlySet<string>, others: ReadonlySet<string>) =>
  [...some].filter((id) => !others.has(id))

const liveRows = async (table: string, which = '') => {
  const sql = `select id from ${table} where time_deleted_ms is null ${which}`
  return new Set((await postgres.psql(url, sql)).split('\n').filter(Boolean))
}

/** What the sled and the store do not both have; empty when they agree. */
async function differences(): Promise<readonly string[]> {
  const machines = [...readGuests(join(rack.state, 'sled1', 'guests.json'))]
  const running = machines.filter(([, { isRunning }]) => isRunning).map(([id]) => id)
  const volumes: readonly { readonly id: string }[] = readSled('volumes.json')
  const differ = (what: string, one: ReadonlySet<string>, other: ReadonlySet<string>) =>
    [...without(one, other), ...without(other, one)].map((id) => `${what} ${id}`)
  return [
    ...differ('volume', new Set(volumes.map(({ id }) => id)), await liveRows('disk')),
    ...differ('guest', new Set(running), await liveRows('instance', "and run_state = 'running'")),
    // One that is stopped keeps its console until it is deleted.
    ...without(new Set(machines.map(([id]) => id)), await liveRows('instance')),
  ]
}

test('through all of it, what was acknowledged is there, and nothing else is', async (t) => {
  const end_at = Date.now() + chaos_ms
  const clients = [0, 1, 2].map((number) => new Client(number))
  let isOver = false
  const watched = watchTasks(() => isOver)
  const [faults] = await Promise.all([
    chaos(end_at),
    ...clients.map(async (client) => {
      await client.work(() => Date.now() >= end_at)
    }),
  ])
  const unfinished = "select count(*) from saga where state in ('running', 'unwinding')"
  await until('no saga is unfinished', settle_ms_max, async () =>
    (await postgres.psql(url, unfinished)) === '0' ? true : null,
  )
  await until('all members answer', settle_ms_max, async () => {
    const statuses = await Promise.all(
      members.map(
        async (_member, turn) => (await rack.ask(memberFor(turn), 'GET', project)).status,
      ),
    )
    return statuses.every((status) => status === 200) ? true : null
  })
  isOver = true

  let acknowledged = 0
  for (const { known } of clients) {
    for (const [path, fate] of known) {
      if (fate === 'unknown') continue
      acknowledged += 1
      const { status, text } = await rack.ask(memberFor(acknowledged), 'GET', path)
      assert.equal(status, fate === 'there' ? 200 : 404, `${path} is ${fate}: ${text}`)
    }
  }
  t.diagnostic(`${faults} faults, ${acknowledged} acknowledged`)
  assert.ok(faults >= 4 && acknowledged > 10, `${faults} faults, ${acknowledged} acknowledged`)

  let last: readonly string[] = []
  await until('the sled has what the store has', settle_ms_max, async () => {
    last = await differences()
    return last.length === 0 ? true : null
  }).catch(() => {
    assert.deepEqual(last, [])
  })

  const samples = await watched
  assert.deepEqual([...new Set(samples.map(({ name }) => name))].toSorted(), [
    'expiry',
    'instances',
    'propagation',
    'saga-adoption',
    'saga-expiry',
  ])
  const holders = new Map<string, string>()
  const newest = new Map<string, number>()
  for (const { name, generation, member } of samples) {
    assert.ok(generation >= (newest.get(name) ?? 0), `${name} goes back to ${generation}`)
    newest.set(name, generation)
    const key = `${name} ${generation}`
    assert.equal(holders.get(key) ?? member, member, `${key} is one member's`)
    holders.set(key, member)
  }
})
