/** The small parts that the runtime stands on: mailbox, deadlines, slots, numbers for names. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '#config/limits.ts'
import { Bindings } from '#runtime/channel/bindings.ts'
import { Slots } from '#runtime/channel/slots.ts'
import { manualClock } from '#runtime/clock.ts'
import { cursorOver } from '#runtime/codec/cursor.ts'
import { Deadlines, forget, type Expiring } from '#runtime/actor/deadlines.ts'
import { Mailbox, type Linked } from '#runtime/actor/mailbox.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { bindCodec, FrameError } from '#runtime/wire/frame.ts'

const seed = Math.floor(systemRandom.next() * 2 ** 32)
const random = seededRandom(seed)
const pick = (below: number) => Math.floor(random.next() * below)

class Letter implements Linked {
  next: this | null = null
  readonly name: string
  readonly isUrgent: boolean
  constructor(name: string, isUrgent = false) {
    this.name = name
    this.isUrgent = isUrgent
  }
}

test('a mailbox gives urgent messages first, each lane in its order, within its bound', () => {
  const mailbox = new Mailbox<Letter>()
  for (const name of ['a', 'b']) assert.ok(mailbox.push(new Letter(name), 5))
  for (const name of ['!1', '!2']) assert.ok(mailbox.push(new Letter(name, true), 5))
  assert.ok(mailbox.push(new Letter('c'), 5))
  assert.equal(mailbox.push(new Letter('too much', true), 5), false)
  assert.equal(mailbox.depth, 5)
  const order = Array.from({ length: 6 }, () => mailbox.take()?.name ?? null)
  assert.deepEqual(order, ['!1', '!2', 'a', 'b', 'c', null])
  assert.equal(mailbox.depth, 0)
})

test(`a mailbox does what two plain lists do (seed ${seed})`, () => {
  const mailbox = new Mailbox<Letter>()
  const [urgent, normal]: [string[], string[]] = [[], []]
  for (let turn = 0; turn < 20_000; turn += 1) {
    if (pick(2) === 0) {
      const lane = pick(4) === 0 ? 'urgent' : 'normal'
      const isFull = urgent.length + normal.length >= 10
      assert.equal(mailbox.push(new Letter(String(turn), lane === 'urgent'), 10), !isFull)
      if (!isFull) (lane === 'urgent' ? urgent : normal).push(String(turn))
    } else {
      assert.equal(mailbox.take()?.name, urgent.shift() ?? normal.shift())
    }
    assert.equal(mailbox.depth, urgent.length + normal.length)
  }
})

class Entry implements Expiring {
  expires_ms = 0
  before: Expiring | null = null
  behind: Expiring | null = null
  list: Expiring['list'] = null
  readonly #onExpired: () => void
  constructor(onExpired: () => void) {
    this.#onExpired = onExpired
  }
  expire(): void {
    this.#onExpired()
  }
}

test(`what is not removed expires once and in time, whatever the limits (seed ${seed})`, async () => {
  const clock = manualClock(0)
  const deadlines = new Deadlines(clock)
  const entries: { due_ms: number; expired_ms: number[]; isRemoved: boolean; entry: Entry }[] = []
  for (let turn = 0; turn < 2_000; turn += 1) {
    const timeout_ms = pick(3) === 0 ? 1 + random.next() * 5_000 : (1 + pick(5)) * 100
    const expired_ms: number[] = []
    const entry = new Entry(() => expired_ms.push(clock.monotonic()))
    entries.push({ due_ms: clock.monotonic() + timeout_ms, expired_ms, isRemoved: false, entry })
    deadlines.add(entry, timeout_ms)
    const other = entries[pick(entries.length)]
    if (other !== undefined && pick(2) === 0) {
      if (other.expired_ms.length === 0) other.isRemoved = true
      forget(other.entry)
    }
    if (pick(20) === 0) await clock.advance(pick(50))
  }
  await clock.advance(10_000)
  for (const { due_ms, expired_ms, isRemoved } of entries) {
    const [at_ms = 0] = expired_ms
    assert.equal(expired_ms.length, isRemoved ? 0 : 1)
    // Rounded up to whole milliseconds; limits beyond the first 64 by a sixty-fourth part.
    const isInTime = at_ms >= due_ms && at_ms <= due_ms + 2 + 5_000 / 64
    assert.ok(isRemoved || isInTime, `${at_ms} ${due_ms}`)
  }
})

test('an entry that expires may add and remove others', async () => {
  const clock = manualClock(0)
  const deadlines = new Deadlines(clock)
  const seen: string[] = []
  const victim = new Entry(() => seen.push('victim'))
  const second = new Entry(() => seen.push('second'))
  const first = new Entry(() => {
    seen.push('first')
    forget(victim)
    deadlines.add(second, 10)
  })
  deadlines.add(first, 10)
  deadlines.add(victim, 10)
  await clock.advance(25)
  assert.deepEqual(seen, ['first', 'second'])
})

test('ever new limits make no ever new lists', async () => {
  const clock = manualClock(0)
  let alarms = 0
  const counting = {
    ...clock,
    alarm: (callback: () => void) => {
      alarms += 1
      return clock.alarm(callback)
    },
  }
  const deadlines = new Deadlines(counting)
  for (let turn = 1; turn <= 100_000; turn += 1) {
    deadlines.add(new Entry(() => undefined), turn * 0.7)
  }
  assert.ok(alarms < 2_000, `${alarms} lists`)
})

test('a slot that is used as often as numbers can tell never gives the number 0', () => {
  const slots = new Slots<string>(1)
  for (let use = 0; use < 2 ** 16 + 1; use += 1) {
    const number = slots.take('a call')
    assert.notEqual(number, 0)
    assert.equal(slots.free(number), 'a call')
  }
})

test(`a slot’s number is its own until it is given back, and never means another use (seed ${seed})`, () => {
  const slots = new Slots<string>(100)
  const live = new Map<number, string>()
  const dead: number[] = []
  for (let turn = 0; turn < 50_000; turn += 1) {
    if (!slots.isFull && pick(2) === 0) {
      const number = slots.take(`value ${turn}`)
      assert.ok(!live.has(number))
      assert.ok(slots.indexOf(number) < 100)
      live.set(number, `value ${turn}`)
    } else {
      const [number] = [...live.keys()].slice(pick(Math.max(1, live.size)))
      if (number === undefined) continue
      assert.equal(slots.free(number), live.get(number))
      live.delete(number)
      dead.push(number)
    }
    const old = dead[dead.length - 1 - pick(50)]
    if (old !== undefined && !live.has(old)) assert.equal(slots.free(old), null)
    assert.equal(slots.used, live.size)
  }
  assert.deepEqual(new Set(slots.drain()), new Set(live.values()))
  assert.equal(slots.used, 0)
  for (const number of live.keys()) assert.equal(slots.free(number), null)
  assert.equal(typeof slots.take('again'), 'number')
})

test('a channel tells apart more names than it has numbers: the oldest binds again', () => {
  const [ours, theirs] = [new Bindings(null), new Bindings(null)]
  const payload = cursorOver(Buffer.alloc(2_000))
  const bind = (name: string) => {
    const { number, isNew } = ours.numberOf('', 'kind', name)
    if (isNew) {
      payload.at = 0
      payload.limit = payload.buffer.length
      bindCodec.write(payload, ['', 'kind', name])
      payload.limit = payload.at
      payload.at = 0
      theirs.take(number, payload)
    }
    assert.equal(theirs.at(number).actor, name, 'both ends mean the same')
    return { number, isNew }
  }
  const count = limits.link_bindings_max + 1_000
  for (let at = 0; at < count; at += 1) assert.ok(bind(`actor-${at}`).isNew)
  assert.equal(bind(`actor-${count - 1}`).isNew, false)
  assert.ok(bind('actor-0').isNew, 'it was given away, and is bound again')
  assert.throws(() => theirs.take(limits.link_bindings_max, payload), FrameError)
  assert.throws(() => new Bindings(null).at(5), FrameError)
})
