/** Images of projects: from URLs, snapshots and the guest image, and disks made from them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test, type TestContext } from 'node:test'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { sled } from '#actors/sled.ts'
import { probeImage } from '#native/image.ts'
import { SimZones } from '#native/sim/zone.ts'
import { diskBody, project, TestNexus, unprivileged } from './kit.ts'

const gib = 1024 ** 3
const images = `${project}/images`
const alpine = { type: 'you_can_boot_anything_as_long_as_its_alpine' }
let nexus: TestNexus
let origin = ''
let server: Server
let global_image = ''
const state = mkdtempSync(join(tmpdir(), 'luge-images-'))
let cut: { readonly node: string; readonly when: 'before' | 'after'; readonly error: Error } | null

before(async () => {
  server = createServer((request, response) => {
    const [, status = '404', length = '0'] = (request.url ?? '').split('/')
    response.writeHead(Number(status), { 'content-length': length }).end()
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  origin = `http://127.0.0.1:${address.port}`
})
after(() => {
  rmSync(state, { recursive: true })
  server.close()
  server.closeAllConnections()
})
async function begin(t: TestContext): Promise<void> {
  cut = null
  nexus = await TestNexus.during(t, (node, when) => {
    if (cut?.node === node && cut.when === when) throw cut.error
  })
  // URLs are asked by the sled itself.
  nexus.world.add(
    sled,
    {
      platform: 'sim',
      address: '::1',
      port: 12_345,
      services: [],
      zones: new SimZones({ state }),
      probe: probeImage,
      accelerator: async () => 'sim',
      nexusConnected: () => true,
      nexus: [],
      warnings: () => [],
      onReconciled: () => undefined,
      onAnnounced: () => undefined,
    },
    nexus.services.config.sleds[0] ?? '',
  )
  global_image = (await nexus.guide()).image_id
}
/** A test on a Nexus of its own. A hook would be one of all files, where they run in one process. */
function testAnew(name: string, work: () => Promise<void>): void {
  test(name, async (t) => {
    await begin(t)
    await work()
  })
}

const body = (source: unknown, name = 'image') => ({
  name,
  description: 'x',
  block_size: 2048,
  source,
})
const fromGlobalImage = (image_id: string, name = 'booting') => ({
  name,
  description: 'x',
  size: gib,
  disk_source: { type: 'global_image', image_id },
})
const fromImage = (image_id: string, name = 'made', size = gib) => ({
  name,
  description: 'x',
  size,
  disk_source: { type: 'image', image_id },
})
const messageOf = async (url: string, given: unknown) => {
  const { status, json } = await nexus.call('POST', url, given)
  return `${status} ${json.message}`
}
async function snapshot(): Promise<{ readonly id: string; readonly disk_id: string }> {
  const disk = await nexus.ok('POST', `${project}/disks`, diskBody(global_image))
  nexus.block.write(disk.id, 'then')
  const given = { name: 'snap', description: 'x', disk: 'alpine' }
  return await nexus.ok('POST', `${project}/snapshots`, given)
}
const volumeIds = async () => {
  const listed = await nexus.block.list()
  assert.ok(listed.ok)
  return listed.value.map(({ id }) => id).toSorted()
}

testAnew('an image of a URL has the size that the server says, and blocks as asked', async () => {
  const url = `${origin}/200/4096`
  const made = await nexus.call('POST', images, body({ type: 'url', url }))
  assert.equal(made.status, 201)
  const { id, time_created, time_modified, project_id, ...rest } = made.json
  assert.deepEqual(rest, {
    name: 'image',
    description: 'x',
    block_size: 2048,
    size: 4096,
    url,
    version: null,
    digest: null,
  })
  assert.equal(time_created, time_modified)
  assert.equal(project_id, (await nexus.ok('GET', project)).id)
  assert.deepEqual(await nexus.ok('GET', `${images}/image`), made.json)
  assert.deepEqual(await nexus.ok('GET', `/by-id/images/${id}`), made.json)
  assert.deepEqual((await nexus.ok('GET', images)).items, [made.json])
  const hidden = await nexus.call('GET', `/by-id/images/${id}`, undefined, unprivileged)
  assert.equal(hidden.json.message, `not found: image with id "${id}"`)
  const disk = await nexus.ok('POST', `${project}/disks`, fromImage(id))
  assert.equal(disk.image_id, id)
  assert.equal(disk.block_size, 2048)
  assert.equal(nexus.block.contentOf(disk.id), url)
})

testAnew('a global image that is deleted frees its name, and disks made from it stay', async () => {
  const url = '/system/images/alpine'
  const { id } = await nexus.ok('GET', url)
  await nexus.ok('POST', `${project}/disks`, fromGlobalImage(id))
  assert.equal((await nexus.call('DELETE', url, undefined, unprivileged)).status, 403)
  assert.equal((await nexus.call('DELETE', url)).status, 204)
  assert.equal((await nexus.call('DELETE', url)).status, 404)
  assert.equal((await nexus.call('GET', `/system/by-id/images/${id}`)).status, 404)
  const disk = await nexus.ok('GET', `${project}/disks/booting`)
  assert.equal(disk.image_id, id)
  const again = await nexus.call('POST', `${project}/disks`, fromGlobalImage(id, 'again'))
  assert.equal(again.json.message, `not found: global-image with id "${id}"`)
  await nexus.ok('POST', '/system/images', {
    name: 'alpine',
    description: 'x',
    block_size: 512,
    distribution: { name: 'alpine', version: 'propolis-blob' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  })
})

testAnew('a URL that is no image is refused in the words of global images', async () => {
  const label = '400 unsupported value for'
  for (const [source, message] of [
    [`${origin}/200/100`, `${label} "size": total size 100 must be divisible by block size 2048`],
    [`${origin}/404/4096`, `${label} "url": querying url returned: 404`],
  ] as const) {
    assert.equal(await messageOf(images, body({ type: 'url', url: source })), message)
  }
  const dead = await messageOf(images, body({ type: 'url', url: 'http://127.0.0.1:1/x' }))
  assert.match(dead, /^400 unsupported value for "url": error querying url: /)
  const unknown = '11111111-1111-4111-8111-111111111111'
  assert.equal(
    await messageOf(images, body({ type: 'snapshot', id: unknown })),
    `404 not found: snapshot with id "${unknown}"`,
  )
  assert.equal(
    await messageOf(`${project}/disks`, fromImage(unknown)),
    `404 not found: image with id "${unknown}"`,
  )
})

testAnew('an image of a snapshot outlives it, and its disks outlive the image', async () => {
  const { id, disk_id } = await snapshot()
  const image = await nexus.ok('POST', images, body({ type: 'snapshot', id }))
  assert.equal(image.block_size, 512)
  assert.equal(image.size, gib)
  assert.equal(await messageOf(images, body(alpine)), '400 already exists: image "image"')
  assert.equal(
    await messageOf(images, body({ type: 'snapshot', id })),
    '400 already exists: image "image"',
  )
  assert.deepEqual(await volumeIds(), [disk_id, id, image.id].toSorted())
  await nexus.ok('DELETE', `${project}/disks/alpine`)
  await nexus.ok('DELETE', `${project}/snapshots/snap`)
  const disk = await nexus.ok('POST', `${project}/disks`, fromImage(image.id, 'made', 2 * gib))
  assert.equal(nexus.block.contentOf(disk.id), 'then')
  assert.equal(
    await messageOf(`${project}/disks`, fromImage(image.id, 'small', 512)),
    `400 disk size 512 must be greater than or equal to image size ${gib}`,
  )
  await nexus.ok('DELETE', `${images}/image`)
  assert.deepEqual(await volumeIds(), [disk.id])
  assert.equal((await nexus.call('GET', `${images}/image`)).status, 404)
  assert.equal((await nexus.call('DELETE', `${images}/image`)).status, 404)
})

testAnew('the guest image can be a project’s too, and a project with an image stays', async () => {
  const image = await nexus.ok('POST', images, body(alpine))
  assert.equal(image.size, 104_857_600)
  assert.equal(image.block_size, 512)
  const disk = await nexus.ok('POST', `${project}/disks`, fromImage(image.id))
  assert.equal(nexus.block.contentOf(disk.id), 'alpine')
  await nexus.ok('DELETE', `${project}/disks/made`)
  const kept = await nexus.call('DELETE', project)
  assert.equal(kept.json.message, 'project to be deleted contains an image')
  await nexus.ok('DELETE', `${images}/image`)
})

for (const node of ['image_volume', 'created_image']) {
  testAnew(`image-create, failing in ${node}: nothing of it remains`, async () => {
    const { id, disk_id } = await snapshot()
    cut = { node, when: 'before', error: new Error('as asked') }
    assert.equal((await nexus.call('POST', images, body({ type: 'snapshot', id }))).status, 500)
    assert.deepEqual(await volumeIds(), [disk_id, id].toSorted())
    assert.deepEqual((await nexus.ok('GET', images)).items, [])
  })

  for (const when of ['before', 'after'] as const) {
    testAnew(`image-create, cut off ${when} ${node}: the next Nexus finishes it`, async () => {
      const { id, disk_id } = await snapshot()
      cut = { node, when, error: new SagaCrash('as asked') }
      assert.equal((await nexus.call('POST', images, body({ type: 'snapshot', id }))).status, 500)
      await nexus.restart()
      const image = await nexus.ok('GET', `${images}/image`)
      assert.equal(nexus.block.contentOf(image.id), 'then')
      assert.deepEqual(await volumeIds(), [disk_id, id, image.id].toSorted())
    })
  }
}

testAnew('an image whose volume cannot be deleted is kept for another try', async () => {
  const { id, disk_id } = await snapshot()
  await nexus.ok('POST', images, body({ type: 'snapshot', id }))
  nexus.block.faults.add('destroy')
  assert.equal((await nexus.call('DELETE', `${images}/image`)).status, 503)
  nexus.block.faults.clear()
  await nexus.ok('DELETE', `${images}/image`)
  assert.deepEqual(await volumeIds(), [disk_id, id].toSorted())
})

for (const node of ['image_volume', 'image_record']) {
  for (const when of ['before', 'after'] as const) {
    testAnew(`image-delete, cut off ${when} ${node}: the next Nexus finishes it`, async () => {
      const { id, disk_id } = await snapshot()
      await nexus.ok('POST', images, body({ type: 'snapshot', id }))
      cut = { node, when, error: new SagaCrash('as asked') }
      assert.equal((await nexus.call('DELETE', `${images}/image`)).status, 500)
      await nexus.restart()
      assert.deepEqual((await nexus.ok('GET', images)).items, [])
      assert.deepEqual(await volumeIds(), [disk_id, id].toSorted())
    })
  }
}
