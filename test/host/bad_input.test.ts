/** What a real rack refuses leaves no trace: not in the API, not in the kernel, not on the disk. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { kernelObjects } from '#test/kit/kernel.ts'
import { TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('linux')
const gib_bytes = 1024 ** 3
let project = ''
let image_id = ''
let untouched: readonly string[] = []

interface Said {
  readonly status: number
  readonly message: string
}

before(async () => {
  await rack.up()
  project = await rack.prepare()
  image_id = (await rack.api<{ id: string }>('/system/images/alpine')).id
  await rack.triedOut()
  untouched = kernelObjects(rack.tag, rack.state)
  assert.ok(untouched.some((line) => line.includes('oxz_nexus')))
})
after(async () => {
  await rack.destroy()
})

async function ask(path: string, body: unknown, method = 'POST'): Promise<Said> {
  assert.ok(rack.ready !== null)
  const answer = await fetch(`${rack.ready.external}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${rack.ready.token}`,
      'content-type': 'application/json',
    },
    ...(method === 'DELETE'
      ? {}
      : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await answer.text()
  const { message = '' } = (text === '' ? {} : JSON.parse(text)) as { message?: string }
  return { status: answer.status, message }
}

const nothingChanged = () => {
  assert.deepEqual(kernelObjects(rack.tag, rack.state), untouched)
}
const disk = (name: string, size: number, more: object = {}) => ({
  name,
  description: 'x',
  size,
  disk_source: { type: 'global_image', image_id },
  ...more,
})
const instance = (name: string, more: object = {}) => ({
  name,
  description: 'x',
  hostname: name,
  memory: gib_bytes,
  ncpus: 1,
  ...more,
})

test('disks that cannot be are refused, and no volume, server or file is made', async () => {
  for (const [body, message] of [
    ['{"name":', /unable to parse JSON body/],
    [disk('d', 104_857_600), /total size must be at least 1 GiB/],
    [disk('d', 1_610_612_736), /total size must be a multiple of 1 GiB/],
    [disk('d', gib_bytes, { size: 'large' }), /invalid type: string "large"/],
    [disk('d', gib_bytes, { disk_source: { type: 'blank', block_size: 513 } }), /block_size/],
    [disk('x'.repeat(64), gib_bytes), /at most 63 characters/],
    [disk('d', gib_bytes, { description: 'x'.repeat(1_100_000) }), /exceeded maximum size/],
  ] as const) {
    const said = await ask(`${project}/disks`, body)
    assert.equal(said.status, 400)
    assert.match(said.message, message)
  }
  // A global image is no project's.
  const other = disk('d', gib_bytes, { disk_source: { type: 'image', image_id } })
  const said = await ask(`${project}/disks`, other)
  assert.equal(said.status, 404)
  assert.equal(said.message, `not found: image with id "${image_id}"`)
  nothingChanged()
})

test('instances that cannot be are refused, and no port, zone or guest is made', async () => {
  await ask(`${project}/disks`, disk('held', gib_bytes))
  untouched = kernelObjects(rack.tag, rack.state)
  const attach = { type: 'attach', name: 'held' }
  const made = { type: 'create', ...disk('new', gib_bytes) }
  const ip = { type: 'ephemeral' }
  for (const [body, status, message] of [
    ['[]', 400, /invalid type: sequence/],
    [instance('i', { memory: 1024 }), 400, /memory must be at least 1 GiB/],
    [instance('i', { ncpus: 'two' }), 400, /invalid type/],
    [instance('i', { external_ips: [ip, ip] }), 400, /more than 1 external IP/],
    // What comes last fails: a new disk, a NIC and addresses have been made by then.
    [instance('i', { disks: [made, { type: 'attach', name: 'ghost' }] }), 404, /"ghost"/],
    [instance('i', { disks: [made, made] }), 400, /already exists: disk "new"/],
    [
      instance('i', { disks: [made, attach], external_ips: [{ ...ip, pool_name: 'none' }] }),
      404,
      /not found: ip-pool with name "none"/,
    ],
  ] as const) {
    const said = await ask(`${project}/instances`, body)
    assert.match(said.message, message)
    assert.equal(said.status, status)
  }
  const { items } = await rack.api<{ items: readonly unknown[] }>(`${project}/instances`)
  assert.deepEqual(items, [])
  const disks = await rack.api<{ items: ReadonlyArray<{ name: string }> }>(`${project}/disks`)
  assert.deepEqual(
    disks.items.map(({ name }) => name),
    ['held'],
  )
  nothingChanged()
})

test('a guest that QEMU refuses ends in failed, holding nothing, and is deleted', async () => {
  const body = instance('many', { ncpus: 4_000, disks: [{ type: 'attach', name: 'held' }] })
  assert.equal((await ask(`${project}/instances`, body)).status, 201)
  const url = `${project}/instances/many`
  await until('it is failed', 30_000, async () =>
    (await rack.api<{ run_state: string }>(url)).run_state === 'failed' ? true : null,
  )
  nothingChanged()
  assert.match((await ask(`${url}/start`, '')).message, /cannot be changed from state "failed"/)
  assert.equal((await ask(url, '', 'DELETE')).status, 204)
  nothingChanged()
})

test('a second instance of a name, and one without a free address, leave the first alone', async () => {
  await ask('/system/ip-pools', { name: 'one', description: 'x' })
  await ask('/system/ip-pools/one/ranges/add', { first: '172.20.15.240', last: '172.20.15.240' })
  const one = { external_ips: [{ type: 'ephemeral', pool_name: 'one' }] }
  const odd = { ...one, hostname: 'a,b=c "d" é' }
  assert.equal((await ask(`${project}/instances`, instance('first', odd))).status, 201)
  await until('it runs', 30_000, async () => {
    const { run_state } = await rack.api<{ run_state: string }>(`${project}/instances/first`)
    return run_state === 'running' ? true : null
  })
  untouched = kernelObjects(rack.tag, rack.state)
  const again = await ask(`${project}/instances`, instance('first'))
  assert.equal(again.message, 'already exists: instance "first"')
  const exhausted = await ask(`${project}/instances`, instance('second', one))
  assert.deepEqual(exhausted, { status: 400, message: 'No external IP addresses available' })
  nothingChanged()
})
