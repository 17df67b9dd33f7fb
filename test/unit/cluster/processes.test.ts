/** Members as real processes on a real PostgreSQL: killed, stopped, leaving, and without a database. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after, afterEach, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Timing } from '#runtime/cluster/timing.ts'
import type { MemberGiven, Told } from '#test/kit/cluster_member.ts'
import { postgresDatabase } from '#test/kit/lease_databases.ts'
import { startPostgres } from '#test/kit/postgres.ts'

const timing: Timing = { heartbeat_ms: 250, trust_ms_max: 1_500, silence_ms_min: 2_500 }
const program = fileURLToPath(new URL('../../kit/cluster_member.ts', import.meta.url))
const postgres = await startPostgres()
after(postgres.stop)

interface Member {
  readonly id: string
  readonly child: ChildProcess
  readonly told: Told[]
}

let started: Member[] = []
afterEach(async () => {
  const ending = started.filter(({ child }) => child.exitCode === null && child.signalCode === null)
  started = []
  for (const { child } of ending) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})

function start(url: string, member_id: string): Member {
  const given: MemberGiven = { url, member_id, timing }
  const child = spawn(process.execPath, [program, JSON.stringify(given)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const member: Member = { id: member_id, child, told: [] }
  createInterface({ input: child.stdout }).on('line', (line) => {
    member.told.push(JSON.parse(line) as Told)
  })
  started.push(member)
  return member
}

/** Polls until the condition gives something, for a minute at most. */
async function eventually<T>(what: string, condition: () => T | null | undefined): Promise<T> {
  for (let tries = 0; tries < 3_000; tries += 1) {
    const found = condition()
    if (found !== null && found !== undefined && found !== false) return found
    await pause(20)
  }
  const told = started.map(({ id, told: lines }) => `${id}: ${JSON.stringify(lines.slice(-5))}`)
  throw new Error(`${what} did not happen within a minute\n${told.join('\n')}`)
}

const hasTold = (member: Member, told: Told['told'], generation: number): boolean =>
  member.told.some(
    (line) => line.told === told && 'generation' in line && line.generation === generation,
  )

const sees = (member: Member, count: number): boolean =>
  member.told.some((line) => 'members' in line && line.members.length === count)

/** Waits for the member that got this generation and wrote under it. */
async function writerOf(members: readonly Member[], generation: number): Promise<Member> {
  return await eventually(`generation ${generation} with a write`, () =>
    members.find(
      (member) => hasTold(member, 'acquired', generation) && hasTold(member, 'wrote', generation),
    ),
  )
}

async function cluster(...ids: readonly string[]): Promise<readonly [string, readonly Member[]]> {
  const { url } = await postgresDatabase(postgres)
  return [url, ids.map((id) => start(url, id))]
}

/** By an independent program: every generation that wrote, in the order of commits. */
async function generationsOf(url: string): Promise<readonly number[]> {
  const rows = await postgres.psql(url, 'SELECT generation FROM deed ORDER BY id')
  return rows.split('\n').map(Number)
}
function assertNeverBack(generations: readonly number[]): void {
  const sorted = generations.toSorted((a, b) => a - b)
  assert.deepEqual(generations, sorted, 'an old generation wrote after a new one')
}

test('a killed holder is followed by another, and a stopped one’s stale write is refused', async () => {
  const [url, members] = await cluster('a', 'b', 'c')
  const first = await writerOf(members, 1)
  await eventually('all see each other', () => members.every((member) => sees(member, 3)))
  first.child.kill('SIGKILL')
  await once(first.child, 'exit')
  const rest = members.filter((member) => member !== first)
  const second = await writerOf(rest, 2)

  second.child.stdin?.write('pause\n')
  await eventually('the second stops itself', () => hasTold(second, 'pausing', 2))
  const third = await writerOf(
    rest.filter((member) => member !== second),
    3,
  )
  assert.notEqual(third, second)
  assert.equal(
    await postgres.psql(url, "SELECT count(*) FROM cluster_member WHERE status = 'live'"),
    '1',
  )
  second.child.kill('SIGCONT')
  const refused = await eventually('its write is refused', () =>
    second.told.find((line) => line.told === 'refused'),
  )
  assert.equal(refused.generation, 2)
  assert.match(refused.why, /generation 2 of lamp is no longer/)
  await eventually('it joins anew', () =>
    second.told.find((line) => line.told === 'joined' && line.incarnation === 2),
  )
  const before = third.told.length
  await eventually('the third is not disturbed', () =>
    third.told.slice(before).some((line) => line.told === 'wrote'),
  )
  const generations = await generationsOf(url)
  assertNeverBack(generations)
  assert.deepEqual([...new Set(generations)], [1, 2, 3])
})

test('a member that leaves is followed at once, not after a silence', async () => {
  const [url, members] = await cluster('a', 'b')
  const first = await writerOf(members, 1)
  first.child.kill('SIGTERM')
  const [code] = (await once(first.child, 'exit')) as [number | null]
  assert.equal(code, 0)
  await writerOf(
    members.filter((member) => member !== first),
    2,
  )
  const statuses = `SELECT member_id || ' ' || status FROM cluster_member ORDER BY member_id`
  assert.match(await postgres.psql(url, statuses), new RegExp(`${first.id} left`))
  assert.doesNotMatch(await postgres.psql(url, statuses), /fenced/)
})

test('when the database is killed members doubt themselves, and go on once it is back', async () => {
  const [url, members] = await cluster('a', 'b')
  const first = await writerOf(members, 1)
  await eventually('both are there', () => members.every((member) => sees(member, 2)))
  await postgres.kill()
  for (const { told } of members) {
    await eventually('doubt', () =>
      told.some((line) => line.told === 'state' && line.state === 'doubtful'),
    )
  }
  const before = first.told.length
  await postgres.start()
  await eventually('writes go on', () =>
    members.some(({ told }) => told.slice(before).some((line) => line.told === 'wrote')),
  )
  for (const { told } of members) {
    await eventually('a live session', () => {
      const states = told.filter((line) => line.told === 'state')
      return states.at(-1)?.state === 'live'
    })
  }
  assertNeverBack(await generationsOf(url))
})
