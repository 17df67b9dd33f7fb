/** An actor whose journal did not answer: it believes what is there, and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '#config/limits.ts'
import { disk } from '#actors/disk.ts'
import { diskProtocol, type DiskSpec } from '#actors/disk.protocol.ts'
import { journal } from '#actors/journal.ts'
import { vnic } from '#actors/vnic.ts'
import { vnicProtocol, type ControlVnic } from '#actors/vnic.protocol.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { manualClock } from '#runtime/clock.ts'
import type { SystemOptions } from '#runtime/actor/system.ts'
import { Journal, type Entry } from '#runtime/journal/journal.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { aloneSystem } from '#test/kit/alone.ts'

const control: ControlVnic = {
  kind: 'control',
  id: 'oxControlService0',
  zone: 'oxz_nexus',
  address: 'fd00:1122:3344:101::4/64',
}

type Put = (kept: Journal, entry: Entry) => Promise<Result<null, 'os_failed'>>

/** A system with a journal that does this with what it is to keep. */
function systemWith(put: Put, changed: Partial<SystemOptions> = {}) {
  const kept = new Journal(':memory:')
  const system = aloneSystem(changed)
  const handlers: typeof journal.handlers = {
    ...journal.handlers,
    put: (_context, state, entry) => ({ state, result: put(kept, entry) }),
  }
  system.add({ ...journal, handlers }, { journal: kept }, 'sled')
  return system
}

function vnicWith(put: Put) {
  const clock = manualClock()
  const system = systemWith(put, { clock })
  system.add(vnic, { ports: simPorts() })
  return { clock, system, ref: system.ref(vnicProtocol, control.id) }
}
const timeout_ms = 2 * limits.zone_boot_ms_max

test('a write that nobody answered for in time is read back: what the journal has is made', async () => {
  const { clock, system, ref } = vnicWith(async (kept, entry) => {
    await kept.put(entry)
    return await new Promise<never>(() => undefined)
  })
  const asked = ref.call('ensure', control, { timeout_ms })
  await clock.advance(limits.zone_boot_ms_max + 1)
  const made = await asked
  assert.ok(!made.ok && made.error === 'crashed', JSON.stringify(made))
  assert.match(made.detail, /vnic oxControlService0: whether it was journaled is not known/)
  await clock.advance(1_000)
  const found = await ref.call('get', null, { timeout_ms })
  assert.ok(found.ok && found.value?.id === control.id, JSON.stringify(found))
  await system.stop()
})

test('a write that the journal refused is not there: the actor goes on without', async () => {
  const { system, ref } = vnicWith(async () => err('os_failed', 'the disk is full'))
  const made = await ref.call('ensure', control, { timeout_ms })
  assert.ok(!made.ok && made.error === 'os_failed', JSON.stringify(made))
  assert.match(made.detail, /vnic oxControlService0: not journaled: the disk is full/)
  const found = await ref.call('get', null, { timeout_ms })
  assert.deepEqual(found, ok(null))
  await system.stop()
})

test('what could not be done and cannot be taken back from the journal is told', async () => {
  const lines: LogLine[] = []
  let puts = 0
  const put: Put = async (kept, entry) => {
    puts += 1
    if (puts > 2) return err('os_failed', 'the disk is full')
    await kept.put(entry)
    return ok(null)
  }
  const system = systemWith(put, { log: memoryLog(lines) })
  const block = simBlock()
  system.add(disk, { block })
  const id = '22222222-2222-4222-8222-222222222222'
  const ref = system.ref(diskProtocol, id)
  const made: DiskSpec = { id, size_bytes: 1024 ** 3, block_size: 512, source: null }
  assert.ok((await ref.call('ensure', made, { timeout_ms })).ok)
  block.faults.add('export')
  const asked = { instance_id: '11111111-1111-4111-8111-111111111111', read_only: false }
  const attached = await ref.call('attach', asked, { timeout_ms })
  assert.ok(!attached.ok && attached.error === 'os_failed', JSON.stringify(attached))
  const told = lines.find(({ message }) => message === 'what could not be done is still journaled')
  assert.equal(told?.level, 'warn')
  assert.match(String(told.fields['why']), /^disk 2222.*: not journaled: the disk is full$/)
  await system.stop()
})
