/** A rack of two sleds without root: each a supervisor with a state of its own, and guests go between them. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { attempt, leftovers, repository, TestRack, until } from '#test/kit/rack.ts'

const project = '/organizations/myorg/projects/myproj'
const box = `${project}/instances/box`
const rack = new TestRack('sim', 'sqlite', 1, 2)
const luge = (...args: readonly string[]) => attempt(join(repository, 'tools/luge'), args)

interface Guest {
  readonly isRunning: boolean
  readonly isPaused?: boolean
}
interface Page<T> {
  readonly items: readonly T[]
}

before(async () => {
  await rack.up()
  await rack.prepare()
})
after(async () => {
  const { tag, state } = rack
  await rack.down()
  assert.deepEqual(leftovers(tag, state), [])
  await rack.destroy()
})

const stateFile = <T>(sled: number, name: string, none: T): T => {
  const path = join(rack.state, `sled${sled}`, name)
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as T) : none
}
/** A sled's guests, of which each line of the file says what is new; null: it is no more. */
function guestsOn(sled: number): readonly Guest[] {
  const path = join(rack.state, `sled${sled}`, 'guests.json')
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : []
  const guests = new Map<string, Guest | null>()
  for (const line of lines) {
    for (const [id, guest] of Object.entries(JSON.parse(line) as Record<string, Guest | null>)) {
      guests.set(id, guest)
    }
  }
  return [...guests.values()].filter((guest) => guest !== null)
}
/** The sleds, from 1, that have guests; `isRunning`: only those whose guests go on. */
const sledsWithGuests = (isRunning: boolean) =>
  [1, 2].filter((sled) =>
    guestsOn(sled).some((guest) => !isRunning || (guest.isRunning && guest.isPaused !== true)),
  )
const view = async () => await rack.api<{ run_state: string }>(box)
const becomes = async (run_state: string) => {
  await until(`it is ${run_state}`, 20_000, async () =>
    (await view().catch(() => null))?.run_state === run_state ? true : null,
  )
}
const idOf = (sled: number) => rack.ready?.sleds[sled - 1]?.id ?? ''
const migrate = async (to: number) =>
  await fetch(`${rack.ready?.external}${box}/migrate`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${rack.ready?.token}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ dst_sled_id: idOf(to) }),
  })
/** Where the guest goes on, and where it does not. */
function whereabouts(): { readonly here: number; readonly there: number } {
  const [here = 0, ...others] = sledsWithGuests(true)
  assert.deepEqual(others, [], 'a guest goes on on one sled only')
  assert.ok(here !== 0, 'a guest goes on')
  return { here, there: 3 - here }
}

test('both sleds are up, each with an address of its own', async () => {
  assert.deepEqual(
    rack.ready?.sleds.map(({ address }) => address),
    ['fd00:1122:3344:101::1', 'fd00:1122:3344:102::1'],
  )
  const { items } =
    await rack.api<Page<{ id: string; service_address: string }>>('/system/hardware/sleds')
  assert.deepEqual(
    new Map(items.map(({ id, service_address }) => [id, service_address])),
    new Map([
      [idOf(1), '[fd00:1122:3344:101::1]:12345'],
      [idOf(2), '[fd00:1122:3344:102::1]:12345'],
    ]),
  )
  const said = luge('rack', 'status', '--state', rack.state, '--json')
  assert.equal(said.status, 0, said.stderr)
  const { sleds } = JSON.parse(said.stdout) as {
    sleds: ReadonlyArray<{ sled_id: string; nexus_connected: boolean; zones: readonly unknown[] }>
  }
  assert.deepEqual(
    sleds.map(({ sled_id, nexus_connected, zones }) => [sled_id, nexus_connected, zones.length]),
    [
      [idOf(1), true, 1],
      [idOf(2), true, 0],
    ],
  )
})

const up = (state: string, ...args: readonly string[]) =>
  luge('rack', 'up', '--detach', '--platform', 'sim', '--state', state, ...args)

test('a number of sleds that cannot be is refused with a sentence that says what can', () => {
  const elsewhere = join(rack.state, 'none')
  for (const wrong of ['0', '33']) {
    const { status, stderr } = up(elsewhere, `--sleds=${wrong}`)
    assert.equal(status, 1)
    assert.equal(stderr, `luge: --sleds ${wrong}: a rack has from 1 to 32 sleds\n`)
  }
  const other = up(rack.state, '--sleds', '3')
  assert.equal(other.status, 1)
  assert.match(other.stderr, /^luge: the rack in .* has --sleds 2: take it down first/)
  assert.equal(existsSync(elsewhere), false)
})

test('a guest migrates under a console that stays open, and nothing of it stays behind', async () => {
  await rack.api(`${project}/instances`, 'POST', {
    name: 'box',
    description: 'x',
    hostname: 'box',
    memory: 1_073_741_824,
    ncpus: 1,
    disks: [
      {
        type: 'create',
        name: 'own',
        description: 'x',
        size: 1_073_741_824,
        disk_source: { type: 'blank', block_size: 512 },
      },
    ],
    external_ips: [{ type: 'ephemeral' }],
  })
  await becomes('running')
  const { here, there } = whereabouts()
  const url = `${rack.ready?.external}${box}/serial-console/stream`.replace('http', 'ws')
  const console = new WebSocket(url, {
    headers: { authorization: `Bearer ${rack.ready?.token}` },
  })
  let shown = ''
  console.on('message', (data: Buffer) => {
    shown += data.toString()
  })
  await until('the console is open', 5_000, () => (console.readyState === 1 ? true : null))
  const type = async (word: string) => {
    console.send(Buffer.from(word), { binary: true })
    await until(`${word} is echoed`, 10_000, () => (shown.endsWith(word) ? true : null))
  }
  // What is typed before the console is followed is in its history only.
  await until('the console is followed', 10_000, () => {
    console.send(Buffer.from('.'), { binary: true })
    return shown === '' ? null : true
  })
  await type('before ')
  const [answer] = await Promise.all([migrate(there), type('meanwhile ')])
  assert.equal(answer.status, 200)
  await type('after ')
  console.close()
  assert.deepEqual([sledsWithGuests(true), sledsWithGuests(false)], [[there], [there]])
  const history = await rack.api<{ data: readonly number[] }>(
    `${box}/serial-console?from_start=0&max_bytes=1000000`,
  )
  const text = Buffer.from(history.data).toString()
  assert.match(
    text,
    /^This is simulated serial console output[^]*login: \.+before meanwhile after $/,
  )
  assert.deepEqual(
    [stateFile(here, 'volumes.json', []), stateFile(there, 'volumes.json', []).length],
    [[], 1],
  )
})

const settled = async () => {
  await until('no saga is under way', 30_000, async () => {
    const { items } = await rack
      .api<Page<{ state: { state: string } }>>('/system/sagas?limit=1000')
      .catch(() => ({ items: [{ state: { state: 'running' } }] }))
    return items.every(({ state }) => state.state !== 'running') ? true : null
  })
  await becomes('running')
}

const victims = {
  'the sled that it leaves': (here: number) => rack.supervisorOf(here),
  'the sled that it goes to': (_here: number, there: number) => rack.supervisorOf(there),
  Nexus: () => rack.zonePid('oxz_nexus'),
} as const

for (const [who, victim] of Object.entries(victims)) {
  test(`kill -9 of ${who} in the middle leaves one guest that runs`, async () => {
    const { here, there } = whereabouts()
    const goal = rack.supervisorOf(there)
    const doomed = victim(here, there)
    // It stands still, so that the migration is surely under way.
    process.kill(goal, 'SIGSTOP')
    const asked = migrate(there).then(
      ({ status }) => status,
      () => 0,
    )
    await becomes('migrating')
    process.kill(doomed, 'SIGKILL')
    if (doomed !== goal) process.kill(goal, 'SIGCONT')
    await asked
    await rack.up()
    await settled()
    const now = whereabouts()
    assert.deepEqual(sledsWithGuests(false), [now.here])
    assert.deepEqual(stateFile(now.there, 'volumes.json', []), [])
    const answer = await migrate(now.there)
    assert.equal(answer.status, 200, await answer.text())
    assert.deepEqual(sledsWithGuests(false), [now.there])
  })
}

test('what is stopped and deleted after all that has left nothing on either sled', async () => {
  await rack.api(`${box}/stop`, 'POST')
  await becomes('stopped')
  await rack.api(box, 'DELETE')
  await rack.api(`${project}/disks/own`, 'DELETE')
  assert.deepEqual(sledsWithGuests(false), [])
  for (const sled of [1, 2]) assert.deepEqual(stateFile(sled, 'volumes.json', []), [])
})
