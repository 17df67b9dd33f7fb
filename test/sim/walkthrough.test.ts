/** The guide's walk-through on a rack without root: the same processes, the same commands. */
import assert from 'node:assert/strict'
import { Resolver } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { attempt, leftovers, repository, TestRack, until } from '#test/kit/rack.ts'

const project = '/organizations/myorg/projects/myproj'
const rack = new TestRack('sim')
let tag = ''

interface Instance {
  readonly id: string
  readonly run_state: string
}

before(async () => {
  await rack.up()
  tag = rack.tag
})
after(async () => {
  await rack.destroy()
})

const waitState = async (wanted: string) => {
  await until(`myinst is ${wanted}`, 15_000, async () =>
    (await rack.api<Instance>(`${project}/instances/myinst`)).run_state === wanted ? true : null,
  )
}

test('the guide runs from an organization to a login prompt', async () => {
  await rack.oxide('org', 'create', 'myorg', '-D', 'an organization')
  await rack.oxide('project', 'create', '-o', 'myorg', 'myproj', '-D', 'a project')
  await rack.api('/system/ip-pools', 'POST', { name: 'mypool', description: 'an IP pool' })
  await rack.api('/system/ip-pools/mypool/ranges/add', 'POST', {
    first: '172.20.15.227',
    last: '172.20.15.239',
  })
  const image = await rack.api<{ id: string }>('/system/images', 'POST', {
    name: 'alpine',
    description: 'boot from propolis zone blob!',
    block_size: 512,
    distribution: { name: 'alpine', version: 'propolis-blob' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  })
  await rack.api(`${project}/disks/`, 'POST', {
    name: 'alpine',
    description: 'alpine.iso blob',
    block_size: 512,
    size: 1_073_741_824,
    disk_source: { type: 'global_image', image_id: image.id },
  })
  await rack.api(`${project}/instances`, 'POST', {
    name: 'myinst',
    description: 'my inst',
    hostname: 'myinst',
    memory: 1_073_741_824,
    ncpus: 2,
    disks: [{ type: 'attach', name: 'alpine' }],
    external_ips: [{ type: 'ephemeral' }],
  })
  await waitState('running')
  await until('a login prompt', 10_000, async () =>
    /login: /.test(
      await rack.oxide(
        ...['instance', 'serial', '-o', 'myorg', '-p', 'myproj', '--byte-offset=0'],
        'myinst',
      ),
    )
      ? true
      : null,
  )
})

test('a guest survives kill -9 of the supervisor and of Nexus', async () => {
  process.kill(rack.supervisorPid, 'SIGKILL')
  await rack.up()
  await waitState('running')
  process.kill(rack.zonePid('oxz_nexus'), 'SIGKILL')
  await until('Nexus is booted again and knows the instance', 15_000, async () => {
    const answer = await rack.api<Instance>(`${project}/instances/myinst`).catch(() => null)
    return answer?.run_state === 'running' ? true : null
  })
  await until('the sled has found it again', 15_000, () => {
    const status = attempt(join(repository, 'tools/luge'), [
      ...['rack', 'status', '--json', '--state', rack.state],
    ])
    return /"nexus_connected":true/.test(status.stdout) ? true : null
  })
  await rack.oxide('instance', 'stop', '-o', 'myorg', '-p', 'myproj', '--confirm', 'myinst')
  await waitState('stopped')
  await rack.oxide('instance', 'start', '-o', 'myorg', '-p', 'myproj', 'myinst')
  await waitState('running')
})

test('a snapshot is taken and an image made of it, and a disk made of that', async () => {
  const text = { description: 'x' }
  const snapshot = await rack.api<{ id: string }>(`${project}/snapshots`, 'POST', {
    name: 'snap',
    ...text,
    disk: 'alpine',
  })
  const image = await rack.api<{ id: string }>(`${project}/images`, 'POST', {
    name: 'image',
    ...text,
    block_size: 512,
    source: { type: 'snapshot', id: snapshot.id },
  })
  await rack.api(`${project}/snapshots/snap`, 'DELETE')
  const disk = await rack.api<{ id: string }>(`${project}/disks`, 'POST', {
    name: 'second',
    ...text,
    size: 1_073_741_824,
    disk_source: { type: 'image', image_id: image.id },
  })
  const volumes = JSON.parse(
    readFileSync(join(rack.state, 'sled1/volumes.json'), 'utf8'),
  ) as ReadonlyArray<{ id: string; content: string }>
  assert.equal(volumes.length, 3)
  assert.equal(volumes.find(({ id }) => id === disk.id)?.content, 'alpine')
})

test('what is wrong is refused with a sentence that names it', async () => {
  await assert.rejects(rack.oxide('org', 'create', 'myorg', '-D', 'again'), (error: Error) =>
    /✘ Object already exists: already exists: organization "myorg"/.test(error.message),
  )
})

test('a disk smaller than its image is refused, and an image that no sled can reach', async () => {
  const image_bytes = 3 * 1024 ** 3
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': String(image_bytes) }).end()
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const url = `http://127.0.0.1:${address.port}/image`
  const large = {
    name: 'large',
    description: 'x',
    block_size: 512,
    distribution: { name: 'debian', version: '9' },
    source: { type: 'url', url },
  }
  try {
    const image = await rack.api<{ id: string; size: number }>('/system/images', 'POST', large)
    assert.equal(image.size, image_bytes)
    const small = {
      name: 'small',
      description: 'x',
      size: 2 * 1024 ** 3,
      disk_source: { type: 'global_image', image_id: image.id },
    }
    await assert.rejects(rack.api(`${project}/disks`, 'POST', small), (error: Error) =>
      error.message.includes(
        `disk size ${small.size} must be greater than or equal to image size ${image_bytes}`,
      ),
    )
    await assert.rejects(
      rack.api('/system/images', 'POST', {
        ...large,
        name: 'odd',
        block_size: 4096,
        source: { type: 'url', url: 'ftp://x/y' },
      }),
      /400.*unsupported value for \\"url\\": error querying url: .*is not an http or https URL/s,
    )
  } finally {
    server.closeAllConnections()
    server.close()
  }
  await assert.rejects(
    rack.api('/system/images', 'POST', { ...large, name: 'gone' }),
    /400.*unsupported value for \\"url\\": error querying url: .*ECONNREFUSED/s,
  )
})

test('internal DNS answers where the rack says', async () => {
  const [, port = ''] = /^127\.0\.0\.1:(\d+)$/.exec(rack.ready?.dns ?? '') ?? []
  const resolver = new Resolver()
  resolver.setServers([`127.0.0.1:${port}`])
  const [srv] = await resolver.resolveSrv('_nexus._tcp.control-plane.oxide.internal')
  assert.equal(srv?.port, 12_221)
  assert.deepEqual(await resolver.resolve6(srv?.name ?? ''), ['fd00:1122:3344:101::4'])
})

test('rack down leaves no process and no file', async () => {
  await rack.down()
  assert.deepEqual(leftovers(tag, rack.state), [])
})
