/** The journal: a map, logs, snapshots, compaction; what was acknowledged is there. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import Database from 'better-sqlite3'
import { limits } from '#config/limits.ts'
import { Journal } from '#runtime/journal/journal.ts'
import { seededRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'

const directory = mkdtempSync(join(tmpdir(), 'luge-journal-'))
after(() => {
  rmSync(directory, { recursive: true, force: true })
})
let files = 0
const file = () => join(directory, `${(files += 1)}.sqlite`)

/** What a second look at the file says, with the journal closed and opened again. */
function reopened(journal: Journal, path: string): Journal {
  journal.close()
  return new Journal(path)
}

test('entries survive closing, and are replaced and removed by kind and id', async () => {
  const path = file()
  const journal = new Journal(path)
  await journal.put({ kind: 'disk', id: '1', document: { size: 1 } })
  await journal.put({ kind: 'disk', id: '1', document: { size: 2 } })
  await journal.put({ kind: 'zone', id: '2', document: 'gone' })
  await journal.put({ kind: 'zone', id: '1\t\n\ud800"', document: ['x\n\t', null, '\ud800é'] })
  await journal.put({ kind: 'disk', id: '0', document: null })
  await journal.remove('zone', '2')
  await journal.remove('zone', 'never there')
  const again = reopened(journal, path)
  assert.deepEqual(again.get('disk', '1'), { size: 2 })
  assert.equal(again.get('disk', '2'), null)
  const odd = { kind: 'zone', id: '1\t\n\ud800"', document: ['x\n\t', null, '\ud800é'] }
  assert.deepEqual(again.list('zone'), [odd])
  assert.deepEqual(
    again.list(null).map(({ kind, id }) => [kind, id]),
    [
      ['disk', '0'],
      ['disk', '1'],
      ['zone', '1\t\n\ud800"'],
    ],
  )
  again.close()
})

test('reading sees what was asked for before, and that is durable then', async () => {
  const journal = new Journal(file())
  void journal.put({ kind: 'disk', id: '1', document: 'first' })
  assert.equal(journal.get('disk', '1'), 'first')
  void journal.put({ kind: 'disk', id: '1', document: 'second' })
  assert.deepEqual(journal.list('disk'), [{ kind: 'disk', id: '1', document: 'second' }])
  const appended = journal.append('log', 'a', ['one'])
  assert.deepEqual(journal.read('log', 'a', null, 10).events, [{ seq: 1, document: 'one' }])
  assert.equal(journal.commits, 3)
  assert.equal(await appended, 1)
  journal.close()
})

test('events are numbered from 1 in the order of their appends, and read back in pages', async () => {
  const path = file()
  const journal = new Journal(path)
  assert.deepEqual(journal.read('log', 'a', null, 10), { snapshot: null, events: [], next: null })
  const numbers = await Promise.all([
    journal.append('log', 'a', ['one']),
    journal.append('log', 'b', ['other']),
    journal.append('log', 'a', ['two', 'three']),
    journal.append('log', 'a', []),
  ])
  assert.deepEqual(numbers, [1, 1, 3, 3])
  assert.equal(await journal.append('log', 'a', ['four']), 4)
  const again = reopened(journal, path)
  const first = again.read('log', 'a', null, 3)
  assert.deepEqual(
    first.events.map(({ seq, document }) => [seq, document]),
    [
      [1, 'one'],
      [2, 'two'],
      [3, 'three'],
    ],
  )
  assert.equal(first.next, 3)
  assert.deepEqual(again.read('log', 'a', first.next, 3), {
    snapshot: null,
    events: [{ seq: 4, document: 'four' }],
    next: null,
  })
  assert.deepEqual(again.list(null), [], 'a log without a document is no entry')
  again.close()
})

test('a page ends at its bound of bytes too, and always has an event', async () => {
  const journal = new Journal(':memory:')
  const big = 'x'.repeat(limits.journal_read_bytes_max)
  await journal.append('log', 'a', [big, big])
  const page = journal.read('log', 'a', null, 10)
  assert.deepEqual([page.events.length, page.next], [1, 1])
  assert.equal(journal.read('log', 'a', 1, 10).events.length, 1)
  journal.close()
})

test('a snapshot stands for the events through its number, before and after compaction', async () => {
  const path = file()
  let journal = new Journal(path)
  await journal.append('log', 'a', [1, 2, 3, 4, 5])
  assert.deepEqual(
    await journal.snapshot({ kind: 'log', id: 'a', document: { sum: 6 } }, 3),
    ok(null),
  )
  const expected = {
    snapshot: { through: 3, document: { sum: 6 } },
    events: [
      { seq: 4, document: 4 },
      { seq: 5, document: 5 },
    ],
    next: null,
  }
  const check = () => {
    assert.deepEqual(journal.read('log', 'a', null, 10), expected)
    assert.deepEqual(journal.read('log', 'a', 2, 10), expected, 'what is gone is stood for')
    assert.deepEqual(journal.read('log', 'a', 3, 10), { ...expected, snapshot: null })
    assert.deepEqual(journal.get('log', 'a'), { sum: 6 })
  }
  check()
  journal = reopened(journal, path)
  check()
  await journal.compact()
  check()
  journal = reopened(journal, path)
  check()
  const early = await journal.snapshot({ kind: 'log', id: 'a', document: 0 }, 2)
  const late = await journal.snapshot({ kind: 'log', id: 'a', document: 0 }, 6)
  assert.deepEqual([early.ok, late.ok], [false, false])
  check()
  assert.equal(await journal.append('log', 'a', [6]), 6)
  await journal.put({ kind: 'log', id: 'a', document: 'all' })
  assert.deepEqual(journal.read('log', 'a', null, 10), {
    snapshot: { through: 6, document: 'all' },
    events: [],
    next: null,
  })
  journal = reopened(journal, path)
  assert.equal(await journal.append('log', 'a', [7]), 7, 'numbers go on behind a snapshot')
  journal.close()
})

test('a removed stream is gone for good, and one of the same name begins at 1', async () => {
  const path = file()
  let journal = new Journal(path)
  await journal.append('log', 'a', [1, 2])
  await journal.put({ kind: 'log', id: 'a', document: 'state' })
  await journal.append('log', 'a', [3])
  await journal.remove('log', 'a')
  assert.equal(await journal.append('log', 'a', ['new']), 1)
  await journal.remove('log', 'a')
  journal = reopened(journal, path)
  for (let round = 0; round < 2; round += 1) {
    assert.deepEqual(journal.read('log', 'a', null, 10).events, [])
    assert.equal(journal.get('log', 'a'), null)
    await journal.compact()
    journal = reopened(journal, path)
  }
  assert.equal(await journal.append('log', 'a', ['newer']), 1)
  journal.close()
})

test('writes of one tick share a commit, up to its bounds', async () => {
  const path = file()
  const journal = new Journal(path)
  const put = async (id: number, document: unknown) => {
    await journal.put({ kind: 'k', id: String(id), document })
  }
  await Promise.all(Array.from({ length: 100 }, async (_, id) => await put(id, id)))
  const lines = limits.journal_commit_lines_max
  await Promise.all(Array.from({ length: lines + 1 }, async (_, id) => await put(id, id)))
  const big = 'x'.repeat(limits.journal_commit_bytes_max / 2)
  await Promise.all(Array.from({ length: 3 }, async (_, id) => await put(id, big)))
  journal.close()
  const reader = new Database(path, { readonly: true })
  const bodies = reader.prepare<[], { body: string }>('SELECT body FROM batch ORDER BY row').all()
  assert.deepEqual(
    bodies.map(({ body }) => body.split('\n').length),
    [100, lines, 1, 1, 1, 1],
  )
  reader.close()
})

test('what cannot be written fails alone, not with the others of its tick', async () => {
  const journal = new Journal(':memory:')
  const circle: unknown[] = []
  circle.push(circle)
  const long = 'x'.repeat(limits.journal_document_bytes_max)
  const results = await Promise.allSettled([
    journal.put({ kind: 'k', id: '1', document: 1 }),
    journal.put({ kind: 'k', id: '2', document: undefined }),
    journal.put({ kind: 'k', id: '3', document: circle }),
    journal.put({ kind: 'k', id: '4', document: long }),
    journal.append('k', '5', [1, () => 2]),
    journal.put({ kind: 'k', id: '6', document: 6 }),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'rejected', 'rejected', 'fulfilled'],
  )
  assert.deepEqual(
    journal.list(null).map(({ id }) => id),
    ['1', '6'],
  )
  journal.close()
  await assert.rejects(journal.put({ kind: 'k', id: '1', document: 1 }), /is closed/)
})

test('compaction makes the file small again, a step at a time, while writes go on', async () => {
  const path = file()
  const journal = new Journal(path)
  const fill = 'x'.repeat(1_000)
  for (let at = 0; at < 60; at += 1) await journal.append('log', 'a', Array(50).fill(fill))
  await journal.put({ kind: 'map', id: 'stays', document: 'here' })
  const big = statSync(path).size + statSync(`${path}-wal`).size
  assert.ok(big > 3_000_000)
  await journal.snapshot({ kind: 'log', id: 'a', document: 'short' }, 2_995)
  let isOver = false
  const over = journal.compact().then(() => {
    isOver = true
  })
  let between = 0
  while (!isOver) {
    await journal.put({ kind: 'map', id: 'busy', document: between })
    between += 1
  }
  await over
  assert.ok(between > 5, `${between} writes went on between its steps`)
  assert.ok(statSync(path).size < 100_000, `${statSync(path).size} bytes are left`)
  assert.ok(statSync(`${path}-wal`).size < 100_000)
  const again = reopened(journal, path)
  assert.equal(again.get('map', 'busy'), between - 1)
  assert.equal(again.get('map', 'stays'), 'here')
  assert.equal(again.read('log', 'a', null, 100).events.length, 5)
  again.close()
})

test('a map whose entries change for ever stays small by itself', async () => {
  const path = file()
  const journal = new Journal(path)
  const document = 'x'.repeat(100_000)
  for (let at = 0; at < 200; at += 1) {
    await journal.put({ kind: 'map', id: String(at % 10), document })
  }
  // Twenty megabytes were written; less than half of what is there may be dead for long.
  assert.ok(statSync(path).size < 3 * limits.journal_dead_bytes_max)
  journal.close()
})

interface ModelStream {
  readonly document: unknown
  readonly through: number
  readonly events: readonly number[]
}

function assertStream(journal: Journal, id: string, wanted: ModelStream, why: string): void {
  const { document, through } = wanted
  const page = journal.read('s', id, null, 1_000)
  assert.deepEqual(journal.get('s', id), document, why)
  assert.deepEqual(page.snapshot, document === null ? null : { document, through }, why)
  const events = wanted.events.map((event, at) => ({ seq: through + 1 + at, document: event }))
  assert.deepEqual(page.events, events, why)
}

type Model = Map<string, ModelStream>
type Act = (journal: Journal, model: Model, id: string, step: number) => Promise<void>
const nothing: ModelStream = { document: null, through: 0, events: [] }

/** What the random walk does, each on the journal and on the model of it. */
const acts: Readonly<Record<string, Act>> = {
  append: async (journal, model, id, step) => {
    const stream = model.get(id) ?? nothing
    const documents = Array.from({ length: 1 + (step % 4) }, (_, at) => step * 10 + at)
    const last = stream.through + stream.events.length + documents.length
    assert.equal(await journal.append('s', id, documents), last)
    model.set(id, { ...stream, events: [...stream.events, ...documents] })
  },
  put: async (journal, model, id, step) => {
    const { through, events } = model.get(id) ?? nothing
    await journal.put({ kind: 's', id, document: step })
    model.set(id, { document: step, through: through + events.length, events: [] })
  },
  snapshot: async (journal, model, id, step) => {
    const stream = model.get(id)
    if (stream === undefined) return
    const through = stream.through + (step % (stream.events.length + 1))
    assert.ok((await journal.snapshot({ kind: 's', id, document: step }, through)).ok)
    const events = stream.events.slice(through - stream.through)
    model.set(id, { document: step, through, events })
  },
  remove: async (journal, model, id) => {
    await journal.remove('s', id)
    model.delete(id)
  },
  compact: async (journal) => {
    await journal.compact()
  },
  // Not to the end: what comes next happens in the midst of it, closing the file too.
  'begin to compact': async (journal) => {
    journal.compact().catch(() => null)
  },
}

test('whatever is written, read, compacted and reopened agrees with a model', async () => {
  const names = ['append', 'append', 'append', 'put', 'snapshot', 'remove', ...Object.keys(acts)]
  for (const seed of [1, 2, 3, Date.now()]) {
    const path = file()
    const random = seededRandom(seed)
    const pick = (count: number) => Math.floor(random.next() * count)
    const model: Model = new Map()
    let journal = new Journal(path)
    for (let step = 0; step < 150; step += 1) {
      await acts[names[pick(names.length)] ?? '']?.(journal, model, String(pick(6)), step)
      if (pick(10) === 0) journal = reopened(journal, path)
      for (const [key, wanted] of model) {
        assertStream(journal, key, wanted, `seed ${seed}, step ${step}, stream ${key}`)
      }
      const documents = [...model.values()].filter(({ document }) => document !== null)
      assert.equal(journal.list('s').length, documents.length)
    }
    journal.close()
  }
})
