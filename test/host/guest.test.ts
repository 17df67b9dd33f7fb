/** A real guest under the real VMM, without Nexus: its seed, its console, its life and death. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { cidataImage } from '#native/cidata.ts'
import { LinuxBlock } from '#native/linux/block.ts'
import { linuxVmm } from '#native/linux/vmm.ts'
import { LinuxZones } from '#native/linux/zone.ts'
import type { MachineEvent, MachineSpec } from '#native/platform/vmm.ts'
import { leftovers, repository, until } from '#test/kit/rack.ts'

const state = mkdtempSync(join(tmpdir(), 'luge-guest-'))
const tag = '9e57ab'
const guest_image = join(repository, 'out/guest/alpine.img')
const block = new LinuxBlock({ state, guest_image })
let vmm = linuxVmm({ state, tag })
const instance_id = '11111111-1111-4111-8111-111111111111'
const propolis_id = '55555555-5555-4555-8555-555555555555'
const disk = '22222222-2222-4222-8222-222222222222'
const never = new AbortController().signal

after(async () => {
  vmm.close()
  await new LinuxZones({ state, tag }).destroyAll(100)
  await block.destroyAll()
  rmSync(state, { recursive: true, force: true })
})

async function machine(): Promise<MachineSpec> {
  const served = await block.export(disk, false)
  assert.ok(served.ok)
  return {
    instance_id,
    propolis_id,
    hostname: 'seeded',
    ncpus: 1,
    memory_bytes: 512 * 1024 ** 2,
    nics: [],
    disks: [{ id: disk, slot: 0, read_only: false, block_size: 512, ...served.value }],
    cidata: { public_keys: ['ssh-ed25519 AAAA "odd [key]"'], user_data: '' },
  }
}
const consoleText = async () => {
  const read = await vmm.serialRead(instance_id, 0, 1024 * 1024)
  return read.ok ? Buffer.from(read.value.data).toString() : ''
}
/** What the guest has asked of its only disk. */
const counters = async () => {
  const counted = await vmm.diskCounters(instance_id)
  assert.ok(counted.ok, JSON.stringify(counted))
  assert.ok(counted.value.start_ms <= Date.now())
  const [only, ...more] = counted.value.disks
  assert.ok(only !== undefined && only.slot === 0 && more.length === 0)
  return only
}
const type = async (text: string) => {
  const written = await vmm.serialWrite(instance_id, Buffer.from(text))
  assert.ok(written.ok)
}

test('mtools reads the seed disk that we wrote', () => {
  const path = join(state, 'seed.img')
  const user_data = Buffer.from('#!/bin/sh\necho hello\n').toString('base64')
  writeFileSync(path, cidataImage({ instance_id, hostname: 'h', public_keys: ['a'], user_data }))
  const mtools = (tool: string, ...args: readonly string[]) =>
    spawnSync(tool, ['-i', path, ...args], { encoding: 'utf8' }).stdout
  assert.match(mtools('mlabel', '-s', '::'), /cidata/)
  assert.deepEqual(JSON.parse(mtools('mtype', '::meta-data')), {
    'instance-id': instance_id,
    'local-hostname': 'h',
    'public-keys': ['a'],
  })
  assert.equal(mtools('mtype', '::user-data'), '#!/bin/sh\necho hello\n')
  const checked = spawnSync('fsck.fat', ['-n', path], { encoding: 'utf8' })
  assert.ok(checked.error !== undefined || checked.status === 0, checked.stdout)
})

test('a volume is filled from the image, sparse, and offered to QEMU’s own tools', async () => {
  const made = await block.create(
    {
      id: disk,
      size_bytes: 1024 ** 3,
      block_size: 512,
      source: { type: 'alpine', size_bytes: 104_857_600 },
    },
    never,
  )
  assert.ok(made.ok, JSON.stringify(made))
  const served = await block.export(disk, false)
  assert.ok(served.ok)
  const url = `nbd+unix:///${served.value.export}?socket=${served.value.socket}`
  const compared = spawnSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', url, guest_image])
  // The volume is longer, and zeros where the image ends: qemu-img calls that identical.
  assert.equal(compared.status, 0, String(compared.stdout))
  const blocks = Number(
    spawnSync('stat', ['-c', '%b', join(state, 'volumes', `${disk}.raw`)]).stdout,
  )
  assert.ok(blocks * 512 < 104_857_600, 'holes stay holes')
})

test('an image that is too long, too short, missing or unreachable leaves no volume', async () => {
  const content = Buffer.alloc(4096, 7)
  const server = createServer((request, response) => {
    if (request.url === '/ok') response.end(content)
    else response.writeHead(404).end()
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', () => {
    resolve()
  })
  await promise
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const base = `http://127.0.0.1:${address.port}`
  const id = '77777777-7777-4777-8777-777777777777'
  const create = async (url: string, size_bytes: number) =>
    await block.create(
      { id, size_bytes: 1024 ** 3, block_size: 512, source: { type: 'url', url, size_bytes } },
      never,
    )
  try {
    for (const [url, size, words] of [
      [`${base}/ok`, 2048, /longer than the announced 2048/],
      [`${base}/ok`, 8192, /ended after 4096 of 8192/],
      [`${base}/none`, 4096, /answers 404/],
      ['http://127.0.0.1:1/', 4096, /ECONNREFUSED/],
    ] as const) {
      const failed = await create(url, size)
      assert.ok(!failed.ok && failed.error === 'image_unreachable', JSON.stringify(failed))
      assert.match(failed.detail, words)
      const found = await block.find(id)
      assert.ok(found.ok && found.value === null)
    }
    const probed = await block.probe(`${base}/ok`)
    assert.ok(probed.ok || probed.error === 'no_length')
    assert.ok((await create(`${base}/ok`, 4096)).ok)
    assert.ok((await block.destroy(id)).ok)
  } finally {
    server.close()
  }
})

test('a guest boots, takes its name and keys from the seed, and is adopted by a new VMM', async () => {
  const started = await vmm.start(await machine())
  assert.ok(started.ok, JSON.stringify(started))
  await until('its login prompt', 60_000, async () =>
    (await consoleText()).endsWith('seeded login: ') ? true : null,
  )
  await type('root\n')
  await until('a shell', 10_000, async () => (/# (\S*)$/.test(await consoleText()) ? true : null))
  await type('cat /root/.ssh/authorized_keys; echo o"k"\n')
  await until('the key', 10_000, async () => (/\nok/.test(await consoleText()) ? true : null))
  assert.match(await consoleText(), /ssh-ed25519 AAAA "odd \[key\]"/)
  vmm.close()
  vmm = linuxVmm({ state, tag })
  const found = await vmm.find(instance_id)
  assert.ok(found.ok && found.value?.state === 'running')
})

test('a volume server that dies is started again under the running guest', async () => {
  const pid = Number(
    spawnSync('cat', [join(state, 'nbd', disk, 'pid')], { encoding: 'utf8' }).stdout,
  )
  process.kill(pid, 'SIGKILL')
  assert.ok((await block.export(disk, false)).ok)
  await type('dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct && echo re"ad"\n')
  await until('the guest reads its disk', 20_000, async () =>
    /\nread/.test(await consoleText()) ? true : null,
  )
})

test('a copy of a running guest’s disk has what the guest wrote, and its counters say so', async () => {
  const earlier = await counters()
  assert.ok(earlier.read_bytes >= 4 * 1024 ** 2)
  const copy = '33333333-3333-4333-8333-333333333333'
  await type(
    'echo by the gu"est" | dd of=/dev/vda bs=512 seek=2000000 conv=fsync && echo flu"shed"\n',
  )
  await until('the guest wrote', 20_000, async () =>
    /\nflushed/.test(await consoleText()) ? true : null,
  )
  const made = await block.copy(disk, { id: copy, size_bytes: 1024 ** 3 }, never)
  assert.ok(made.ok, JSON.stringify(made))
  const dd = ['bs=512', 'skip=2000000', 'count=1', 'status=none']
  const read = spawnSync('dd', [`if=${join(state, 'volumes', `${copy}.raw`)}`, ...dd])
  assert.equal(read.stdout.toString().replaceAll('\0', ''), 'by the guest\n')
  const later = await counters()
  assert.ok(later.write > earlier.write && later.write_bytes >= earlier.write_bytes + 512)
  assert.ok(later.flush > earlier.flush)
  assert.ok((await block.destroy(copy)).ok)
})

test('reset and power button are seen, and nothing is left afterwards', async () => {
  const events: MachineEvent[] = []
  const unwatch = vmm.watch(instance_id, (event) => events.push(event))
  const before = (await consoleText()).length
  assert.ok((await vmm.reset(instance_id)).ok)
  await until('the guest boots again', 60_000, async () =>
    (await consoleText()).slice(before).endsWith('seeded login: ') ? true : null,
  )
  assert.ok(events.includes('reset'))
  assert.ok((await vmm.powerdown(instance_id)).ok)
  await until('the guest has ended', 30_000, () => (events.includes('exited') ? true : null))
  assert.ok(events.includes('shutdown'))
  unwatch()
  const found = await vmm.find(instance_id)
  assert.ok(found.ok && found.value === null)
  assert.ok((await vmm.forget(instance_id)).ok)
  assert.equal(existsSync(join(state, 'instances', instance_id)), false)
  assert.deepEqual(
    leftovers(tag, join(state, 'instances')).filter((line) => !line.includes('qemu-storage')),
    [],
  )
})

test('a guest that cannot start is an error that says why, and leaves nothing', async () => {
  const spec = await machine()
  const failed = await vmm.start({ ...spec, ncpus: 65_535 })
  assert.ok(!failed.ok && failed.error === 'os_failed')
  assert.match(failed.detail, /QEMU ended: .*SMP CPUs/s)
  const zones = await new LinuxZones({ state, tag }).list()
  assert.ok(zones.ok)
  assert.deepEqual(zones.value, [])
})
