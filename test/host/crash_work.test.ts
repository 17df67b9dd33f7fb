/**
 * kill -9 of each process of a rack in the middle of create, stop, start and delete: what was
 * acknowledged holds, the rest is settled one way or the other, and at the end nothing is left over.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { kernelObjects } from '#test/kit/kernel.ts'
import { attempt, containers, leftovers, processesOf, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('linux')
let project = ''
let image_id = ''
let empty: readonly string[] = []

interface Answer {
  /** Null: the connection broke before there was one. */
  readonly status: number | null
  readonly state: string
}

before(async () => {
  await rack.up()
  project = await rack.prepare()
  image_id = (await rack.api<{ id: string }>('/system/images/alpine')).id
  await rack.triedOut()
  empty = objects()
})
after(async () => {
  await rack.destroy()
})

const objects = () => kernelObjects(rack.tag, rack.state)
const instances = () => `${project}/instances`
const guest = () => `${instances()}/guest`

async function ask(method: string, path: string, body?: unknown): Promise<Answer> {
  assert.ok(rack.ready !== null)
  try {
    const answer = await fetch(`${rack.ready.external}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${rack.ready.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    const { run_state = '' } = (text === '' ? {} : JSON.parse(text)) as { run_state?: string }
    return { status: answer.status, state: run_state }
  } catch {
    return { status: null, state: '' }
  }
}

type Victim = 'supervisor' | 'Nexus' | 'qemu' | 'qemu-storage-daemon'

function kill(victim: Victim): void {
  // The moment may have come before there was one, or after it had ended.
  for (const pid of pidsOf(victim)) attempt('kill', ['-9', String(pid)])
}

const named = (program: string) =>
  processesOf(rack.state)
    .filter(({ command }) => command.startsWith(program))
    .map(({ pid }) => pid)

function pidsOf(victim: Victim): readonly number[] {
  switch (victim) {
    case 'supervisor':
      return [rack.supervisorPid]
    case 'Nexus':
      return [Number(/^oxz_nexus\s+(\d+)/m.exec(containers(`${rack.state}/sled1/crun`))?.[1])]
    case 'qemu':
      return named('/usr/bin/qemu-system')
    case 'qemu-storage-daemon':
      return named('/usr/bin/qemu-storage-daemon')
  }
}

/** Whoever died is there again, and Nexus and the sled know each other. */
async function mended(victim: Victim): Promise<void> {
  if (victim === 'supervisor') await rack.up()
  await until('the API answers', 60_000, async () =>
    (await ask('GET', '/session/me')).status === 200 ? true : null,
  )
  await until('a sled is connected', 60_000, async () => {
    const status = await rack.status()
    return status.nexus_connected ? true : null
  })
}

/** The guest's state once it rests; null when there is none. */
async function settled(): Promise<string | null> {
  return await until('the guest is in a state that lasts', 90_000, async () => {
    const { status, state } = await ask('GET', guest())
    if (status === 404) return 'absent'
    return ['running', 'stopped', 'failed'].includes(state) ? state : null
  })
}

async function during(victim: Victim, delay_ms: number, work: () => Promise<Answer>) {
  const asked = work()
  // The moment is the point of the test; nothing is waited for.
  await sleep(delay_ms)
  kill(victim)
  const answer = await asked
  await mended(victim)
  return { answer, state: await settled() }
}
const isDone = ({ status }: Answer) => status !== null && status < 300

const body = () => ({
  name: 'guest',
  description: 'x',
  hostname: 'guest',
  memory: 1024 ** 3,
  ncpus: 1,
  external_ips: [{ type: 'ephemeral' }],
  disks: [
    {
      type: 'create',
      name: 'disk',
      description: 'x',
      size: 1024 ** 3,
      disk_source: { type: 'global_image', image_id },
    },
  ],
})

/** Ends the guest the quick way, so that the next step finds it at rest. */
async function stopped(): Promise<void> {
  await until('the guest is stopped', 90_000, async () => {
    const { status, state } = await ask('GET', guest())
    if (status === 404 || state === 'stopped' || state === 'failed') return true
    if (state === 'running') kill('qemu')
    return null
  })
}

async function runs(): Promise<void> {
  if ((await settled()) === 'stopped') {
    assert.equal((await ask('POST', `${guest()}/start`)).status, 202)
  }
  assert.equal(await settled(), 'running')
}

const make = async () => await ask('POST', instances(), body())

/** What a crash cut off is gone on with or undone: then it is asked for again. */
async function created(victim: Victim, delay_ms: number): Promise<void> {
  const { answer, state } = await during(victim, delay_ms, make)
  if (isDone(answer)) assert.notEqual(state, 'absent')
  if (state === 'failed') {
    assert.equal((await ask('DELETE', guest())).status, 204)
    assert.equal((await ask('DELETE', `${project}/disks/disk`)).status, 204)
  }
  if (state === 'failed' || state === 'absent') assert.equal((await make()).status, 201)
  await runs()
}

async function deleted(victim: Victim, delay_ms: number): Promise<void> {
  const { answer, state } = await during(victim, delay_ms, async () => await ask('DELETE', guest()))
  if (isDone(answer)) assert.equal(state, 'absent')
  if (state !== 'absent') assert.equal((await ask('DELETE', guest())).status, 204)
  assert.equal((await ask('DELETE', `${project}/disks/disk`)).status, 204)
  // What is left may go within 20 s; what is still there then is named.
  await until('nothing is left', 20_000, () => isDeepStrictEqual(objects(), empty)).catch(() => {
    assert.deepEqual(objects(), empty, `what is left after ${victim} died`)
  })
}

for (const [victim, create_ms, stop_ms, start_ms, delete_ms] of [
  ['supervisor', 150, 5, 300, 5],
  ['Nexus', 150, 30, 20, 5],
  ['qemu', 700, 5, 250, 5],
  ['qemu-storage-daemon', 500, 5, 150, 5],
] as const) {
  const moments = `${create_ms}, ${stop_ms}, ${start_ms}, ${delete_ms} ms`
  test(`kill -9 of ${victim} ${moments} into create, stop, start, delete`, async () => {
    await created(victim, create_ms)

    const stop = await during(victim, stop_ms, async () => await ask('POST', `${guest()}/stop`))
    if (isDone(stop.answer)) assert.equal(stop.state, 'stopped')
    await stopped()

    const start = await during(victim, start_ms, async () => await ask('POST', `${guest()}/start`))
    const isGuests = victim === 'qemu' || victim === 'qemu-storage-daemon'
    if (isDone(start.answer) && !isGuests) assert.equal(start.state, 'running')
    await stopped()

    await deleted(victim, delete_ms)
  })
}

test('kill -9 of everything while a guest starts: rack down leaves nothing', async () => {
  const { tag, state } = rack
  const asked = ask('POST', instances(), body())
  await sleep(500)
  for (const { pid } of processesOf(state)) attempt('kill', ['-9', String(pid)])
  await asked
  await rack.down()
  assert.deepEqual(leftovers(tag, state), [])
})
