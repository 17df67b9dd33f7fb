/** Every row of the instance's state machine. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  planMigrate,
  planRequest,
  planSeen,
  type RunState,
  type Seen,
  type Target,
} from '#actors/instance.state.ts'

const states: readonly RunState[] = [
  'creating',
  'starting',
  'running',
  'stopping',
  'stopped',
  'rebooting',
  'migrating',
  'repairing',
  'failed',
  'destroyed',
]

/** Target, from → next and action; what is not listed is refused. */
const requests: Readonly<Record<Target, Readonly<Partial<Record<RunState, string>>>>> = {
  running: {
    creating: 'starting run',
    starting: 'starting none',
    running: 'running none',
    stopping: 'starting run',
    stopped: 'starting run',
    rebooting: 'rebooting none',
    migrating: 'migrating none',
  },
  stopped: {
    creating: 'stopped none',
    starting: 'stopping stop',
    running: 'stopping stop',
    stopping: 'stopping none',
    stopped: 'stopped none',
    rebooting: 'stopping stop',
  },
  reboot: {
    starting: 'rebooting reboot',
    running: 'rebooting reboot',
    rebooting: 'rebooting none',
  },
  destroyed: Object.fromEntries(
    states.map((from) => [from, from === 'destroyed' ? 'destroyed none' : 'destroyed destroy']),
  ),
}

for (const [target, rows] of Object.entries(requests)) {
  test(`a request for ${target} leads from every state where the table says`, () => {
    for (const from of states) {
      const planned = planRequest(from, target as Target)
      const expected = rows[from]
      if (expected === undefined) {
        assert.ok(!planned.ok, `${target} from ${from} is refused`)
        assert.match(planned.detail, new RegExp(`instance in state "${from}"`))
      } else {
        assert.ok(planned.ok)
        assert.equal(`${planned.value.next} ${planned.value.action}`, expected)
      }
    }
  })
}

test('only a running guest begins to migrate, and one migration is not replaced by another', () => {
  const asked = { migration_id: 'm1', dst_propolis_id: 'p1' }
  for (const from of states) {
    const planned = planMigrate(from, null, asked)
    if (from === 'running') {
      assert.deepEqual(planned.ok && planned.value, { next: 'migrating', action: 'none' })
    } else {
      assert.equal(planned.ok ? '' : planned.detail, `cannot migrate instance in state "${from}"`)
    }
  }
  const current = { ...asked, side: 'source' } as const
  const again = planMigrate('migrating', current, asked)
  assert.deepEqual(again.ok && again.value, { next: 'migrating', action: 'none' })
  for (const other of [
    { ...asked, migration_id: 'm2' },
    { ...asked, dst_propolis_id: 'p2' },
  ]) {
    const refused = planMigrate('migrating', current, other)
    assert.match(refused.ok ? '' : refused.detail, /migration m1 to propolis p1 is in progress/)
  }
})

const seen = (from: RunState, event: Seen) => {
  const { next, action } = planSeen(from, event)
  return `${next} ${action}`
}

test('what is seen moves live guests only, and an end is let go of once', () => {
  assert.equal(seen('starting', 'running'), 'running none')
  assert.equal(seen('rebooting', 'reset'), 'running none')
  assert.equal(seen('running', 'shutdown'), 'stopping none')
  assert.equal(seen('running', 'exited'), 'stopped release')
  assert.equal(seen('stopping', 'exited'), 'stopped release')
  assert.equal(seen('stopping', 'overdue'), 'stopping kill')
  assert.equal(seen('running', 'overdue'), 'running none')
  assert.equal(seen('migrating', 'running'), 'migrating none')
  assert.equal(seen('migrating', 'exited'), 'stopped release')
  for (const from of ['creating', 'stopped', 'failed', 'destroyed'] as const) {
    for (const event of ['running', 'reset', 'shutdown', 'exited', 'overdue'] as const) {
      assert.equal(seen(from, event), `${from} none`)
    }
  }
})
