/**
 * Copies of real volumes: taken at rest and under a guest's writes, and what they hold afterwards, as
 * qemu-io, cmp and the file system see it.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, readdirSync, readSync, closeSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { LinuxBlock } from '#native/linux/block.ts'
import type { Endpoint } from '#native/platform/block.ts'
import { attempt, processesOf, sh } from '#test/kit/rack.ts'

const size_bytes = 256 * 1024 ** 2
const [disk, snapshot, second] = ['disk', 'snapshot', 'second'].map((name) => `${name}-0001`) as [
  string,
  string,
  string,
]
const never = new AbortController().signal
const state = mkdtempSync(join(tmpdir(), 'luge-volumes-'))
const block = new LinuxBlock({ state, guest_image: 'none' })
const raw = (id: string) => join(state, 'volumes', `${id}.raw`)

beforeEach(async () => {
  for (const id of [disk, snapshot, second]) assert.ok((await block.destroy(id)).ok)
  const made = await block.create({ id: disk, size_bytes, block_size: 512, source: null }, never)
  assert.ok(made.ok)
})
after(async () => {
  assert.ok((await block.destroyAll()).ok)
  rmSync(state, { recursive: true })
})

const at = ({ socket, export: name }: Endpoint) => `nbd+unix:///${name}?socket=${socket}`
async function exported(): Promise<Endpoint> {
  const served = await block.export(disk, false)
  assert.ok(served.ok)
  return served.value
}
/** Writes through the server, as a guest does. */
async function write(endpoint: Endpoint, ...commands: readonly string[]): Promise<void> {
  await sh('qemu-io', ['-f', 'raw', ...commands.flatMap((each) => ['-c', each]), at(endpoint)])
}
function byteAt(path: string, offset: number): number {
  const file = openSync(path, 'r')
  const one = Buffer.alloc(1)
  readSync(file, one, 0, 1, offset)
  closeSync(file)
  return one[0] ?? -1
}
const copy = async (from: string, to: string, bytes = size_bytes) =>
  await block.copy(from, { id: to, size_bytes: bytes }, never)

test('a copy of a volume in use keeps its bytes when the original is overwritten', async () => {
  const endpoint = await exported()
  await write(endpoint, 'write -P 0xaa 0 8M', 'write -P 0xbb 200M 64k')
  await sh('cp', ['--sparse=always', raw(disk), join(state, 'then')])
  assert.ok((await copy(disk, snapshot)).ok)
  await write(endpoint, 'write -P 0x11 0 8M', 'discard 200M 64k')
  assert.ok((await block.destroy(disk)).ok)
  // A disk made of it, larger than it is.
  assert.ok((await copy(snapshot, second, 2 * size_bytes)).ok)
  assert.ok((await block.destroy(snapshot)).ok)
  const compared = attempt('cmp', ['-n', String(size_bytes), raw(second), join(state, 'then')])
  assert.equal(compared.status, 0, compared.stdout)
  assert.equal(statSync(raw(second)).size, 2 * size_bytes)
  assert.ok(statSync(raw(second)).blocks * 512 < 32 * 1024 ** 2, 'holes stay holes')
  assert.deepEqual(readdirSync(join(state, 'volumes')), [`${second}.raw`])
})

test('a copy under writes is of one moment: what was acknowledged later is not without the earlier', async () => {
  const endpoint = await exported()
  const writer = spawn('qemu-io', ['-f', 'raw', at(endpoint)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => writer.once('exit', resolve))
  writer.stdout.resume()
  // Each number at the beginning, and only then at the end.
  for (let n = 1; n <= 250; n += 1) {
    writer.stdin.write(`write -P ${n} 0 64k\nwrite -P ${n} 200M 64k\n`)
  }
  writer.stdin.end()
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  const seen = new Set<number>()
  for (let copies = 0; !isOver || copies < 3; copies += 1) {
    assert.ok((await copy(disk, `copy-${copies}`)).ok)
    const [first, last] = [
      byteAt(raw(`copy-${copies}`), 0),
      byteAt(raw(`copy-${copies}`), 200 * 2 ** 20),
    ]
    assert.ok(first === last || first === last + 1, `${first} and ${last} were never together`)
    seen.add(first)
    assert.ok((await block.destroy(`copy-${copies}`)).ok)
  }
  await ended
  assert.ok(seen.size > 1, 'no copy was taken while there were writes')
  assert.equal(byteAt(raw(disk), 0), 250, 'the writer was not held up')
})

test('a copy that is called off, or has no room, leaves nothing, and the next succeeds', async () => {
  const endpoint = await exported()
  await write(endpoint, 'write -P 0x5a 0 64M')
  const calledOff = new AbortController()
  const asked = block.copy(disk, { id: snapshot, size_bytes }, calledOff.signal)
  calledOff.abort()
  const answer = await asked
  assert.ok(!answer.ok && answer.error === 'os_failed', JSON.stringify(answer))
  assert.deepEqual(readdirSync(join(state, 'volumes')), [`${disk}.raw`])
  const small = await block.copy(disk, { id: snapshot, size_bytes: 512 }, never)
  assert.ok(!small.ok && /does not fit/.test(small.detail))
  assert.ok((await copy(disk, snapshot)).ok)
  assert.equal(attempt('cmp', [raw(disk), raw(snapshot)]).status, 0)
})

test('a copy that a kill cut off is taken away by the next one', async () => {
  const endpoint = await exported()
  await write(endpoint, 'write -P 0x5a 0 64M')
  const script = `
    import { LinuxBlock } from '#native/linux/block.ts'
    const block = new LinuxBlock({ state: process.argv[1], guest_image: 'none' })
    const copied = block.copy('${disk}', { id: '${snapshot}', size_bytes: ${size_bytes} }, new AbortController().signal)
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 60)
    await copied`
  attempt(process.execPath, ['--input-type=module-typescript', '-e', script, state])
  assert.ok((await block.destroy(snapshot)).ok)
  assert.ok((await copy(disk, second)).ok)
  assert.equal(attempt('cmp', [raw(disk), raw(second)]).status, 0)
  assert.deepEqual(readdirSync(join(state, 'volumes')).toSorted(), [`${disk}.raw`, `${second}.raw`])
  assert.ok((await block.unexportAll()).ok)
  assert.deepEqual(processesOf(state), [])
  for (const folder of ['nbd', 'qmp']) assert.deepEqual(readdirSync(join(state, folder)), [])
})
