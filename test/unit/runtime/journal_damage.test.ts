/** What can happen to a journal's file: it is named, nothing else is made of it, and it is salvaged. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs'
import { readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { inspectJournal, JournalFault, type JournalTrouble } from '#runtime/journal/file.ts'
import { recoverJournal } from '#runtime/journal/recover.ts'
import { Journal } from '#runtime/journal/journal.ts'
import { explain } from '#runtime/result.ts'
import { seededRandom } from '#runtime/random.ts'

// What is done to the file here, and a kill, are the same without a disk that must be waited for.
const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const directory = mkdtempSync(join(parent, 'luge-journal-damage-'))
after(() => {
  rmSync(directory, { recursive: true, force: true })
})
let made = 0
function folder(): string {
  const path = join(directory, String((made += 1)))
  mkdirSync(path)
  return path
}
const names = ['', '-wal', '.mark']

function copy(from: string, to: string): void {
  for (const name of names) {
    rmSync(to + name, { force: true })
    if (existsSync(from + name)) copyFileSync(from + name, to + name)
  }
  rmSync(`${to}-shm`, { force: true })
}

const is = (code: JournalTrouble, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof JournalFault, String(error))
  assert.equal(error.code, code)
  assert.match(explain(error), pattern)
  return true
}

/** Everything that a journal gives back, to compare. */
function contents(journal: Journal): string {
  const streams = ['0', '1', '2', '3'].map((id) => journal.read('log', id, null, 1_000))
  return JSON.stringify([journal.list(null), streams])
}

/** A journal with documents, events, dead lines and long rows, closed or as after kill -9. */
async function example(isClosed: boolean): Promise<{ path: string; before: string }> {
  const path = join(folder(), 'journal.sqlite')
  const journal = new Journal(path)
  const random = seededRandom(7)
  for (let step = 0; step < 60; step += 1) {
    const id = String(step % 4)
    const fill = 'abc'.repeat(Math.floor(random.next() * (step % 10 === 0 ? 4_000 : 100)))
    await Promise.all([
      journal.append('log', id, [{ step, fill }, { step }]),
      journal.put({ kind: 'map', id, document: { step, fill } }),
    ])
    if (step % 20 === 19) {
      await journal.snapshot({ kind: 'log', id, document: step }, Math.floor(step / 4))
    }
    if (step === 30) {
      await journal.remove('map', '3')
      await journal.compact()
    }
  }
  const before = contents(journal)
  if (isClosed) journal.close()
  const kept = join(folder(), 'journal.sqlite')
  copy(path, kept)
  journal.close()
  return { path: kept, before }
}

/** A victim must open as it was, or be named and salvaged; never anything else. */
function judge(victim: string, before: string, why: string): 'as it was' | 'named' {
  try {
    const journal = new Journal(victim)
    try {
      assert.equal(contents(journal), before, why)
    } finally {
      journal.close()
    }
    return 'as it was'
  } catch (error) {
    if (!(error instanceof JournalFault)) throw error
    return 'named'
  }
}

function salvage(victim: string, why: string): number {
  const recovered = recoverJournal(victim)
  assert.ok(recovered !== null, why)
  assert.ok(existsSync(recovered.aside) || recovered.why.includes('is gone'), why)
  assert.equal(recoverJournal(victim), null, why)
  const journal = new Journal(victim)
  const events = ['0', '1', '2', '3'].reduce(
    (sum, id) => sum + journal.read('log', id, null, 1_000).events.length,
    0,
  )
  const kept = journal.list(null).length + events
  journal.close()
  for (const name of readdirSync(join(victim, '..'))) {
    if (name.includes('damaged')) rmSync(join(victim, '..', name))
  }
  return kept
}

test('a bit that flips anywhere in the file changes nothing, or is named and salvaged', async () => {
  const { path, before } = await example(true)
  const bytes = readFileSync(path)
  const victim = join(folder(), 'victim.sqlite')
  const random = seededRandom(11)
  const rounds = 200
  const counts = { 'as it was': 0, named: 0 }
  let kept = 0
  let salvages = 0
  const whole = salvageable(before)
  for (let round = 0; round < rounds; round += 1) {
    // Every fourth in the first page or a page's head, where SQLite keeps its structure.
    const page = Math.floor((random.next() * bytes.length) / 4096) * 4096
    const at =
      round % 4 === 0
        ? Math.floor(random.next() * 130) + (round % 8 === 0 ? 0 : page)
        : Math.floor(random.next() * bytes.length)
    const bit = 1 << Math.floor(random.next() * 8)
    const why = `byte ${at}, bit ${bit}`
    const flipped = Buffer.from(bytes)
    flipped.writeUInt8(bytes.readUInt8(at) ^ bit, at)
    copy(path, victim)
    writeFileSync(victim, flipped)
    const verdict = judge(victim, before, why)
    counts[verdict] += 1
    if (verdict === 'as it was') continue
    copy(path, victim)
    writeFileSync(victim, flipped)
    const trouble = troubleOf(victim)
    if (trouble !== 'damaged' && trouble !== 'commits_lost') continue
    kept += salvage(victim, why) / whole
    salvages += 1
  }
  assert.ok(counts.named > rounds / 3, JSON.stringify(counts))
  assert.ok(kept / salvages > 0.8, `${kept / salvages} of everything is salvaged on average`)
})

function troubleOf(path: string): JournalTrouble | null {
  try {
    inspectJournal(path)
    return null
  } catch (error) {
    assert.ok(error instanceof JournalFault)
    return error.code
  }
}

function salvageable(before: string): number {
  const [list, streams] = JSON.parse(before) as [unknown[], Array<{ events: unknown[] }>]
  return list.length + streams.reduce((sum, { events }) => sum + events.length, 0)
}

test('a file cut at any page is named, and what is left of it is salvaged', async () => {
  const { path } = await example(true)
  const victim = join(folder(), 'victim.sqlite')
  let kept = 0
  for (let size = 0; size < statSync(path).size; size += size % 4096 === 0 ? 4095 : 1) {
    copy(path, victim)
    truncateSync(victim, size)
    assert.throws(
      () => new Journal(victim),
      is('damaged', /luge journal recover/),
      `cut at ${size}`,
    )
    kept = Math.max(kept, salvage(victim, `cut at ${size}`))
  }
  assert.ok(kept > 0)
})

test('a -wal that was damaged, cut, or deleted is named when that lost a commit', async () => {
  const { path, before } = await example(false)
  const wal = readFileSync(`${path}-wal`)
  assert.ok(wal.length > 100_000)
  const victim = join(folder(), 'victim.sqlite')
  const lost = is('commits_lost', /-wal file was damaged, cut or deleted.*luge journal recover/)
  copy(path, victim)
  assert.equal(judge(victim, before, 'untouched'), 'as it was')
  const random = seededRandom(13)
  for (let round = 0; round < 150; round += 1) {
    copy(path, victim)
    const at = Math.floor(random.next() * wal.length)
    const flipped = Buffer.from(wal)
    flipped.writeUInt8(wal.readUInt8(at) ^ (1 << Math.floor(random.next() * 8)), at)
    writeFileSync(`${victim}-wal`, flipped)
    const inspect = () => inspectJournal(victim)
    // What SQLite can do without (an earlier round of the log, say) is as it was.
    if (troubleOf(victim) === null) assert.equal(judge(victim, before, `byte ${at}`), 'as it was')
    else assert.throws(inspect, lost, `byte ${at}`)
  }
  for (let size = 0; size < wal.length; size += 4120) {
    copy(path, victim)
    truncateSync(`${victim}-wal`, size)
    assert.throws(() => new Journal(victim), lost, `cut at ${size}`)
    assert.throws(() => new Journal(victim), lost, 'looking does not make it seem well')
  }
  copy(path, victim)
  rmSync(`${victim}-wal`)
  assert.throws(() => new Journal(victim), lost)
  salvage(victim, 'a deleted -wal')
  copy(path, victim)
  writeFileSync(`${victim}-shm`, Buffer.alloc(32_768, 0xa5))
  assert.equal(judge(victim, before, 'a -shm of garbage'), 'as it was')
  copy(path, victim)
  rmSync(`${victim}.mark`)
  assert.equal(judge(victim, before, 'a deleted mark'), 'as it was')
  copy(path, victim)
  writeFileSync(`${victim}.mark`, 'garbage')
  assert.equal(judge(victim, before, 'a mark of garbage'), 'as it was')
  copy(path, victim)
  rmSync(victim)
  assert.throws(() => new Journal(victim), is('missing', /is gone, but .*-wal.*is there/))
})

test('another program’s file, a later version’s, and what is no database are named and left alone', () => {
  const at = folder()
  const text = join(at, 'text.sqlite')
  writeFileSync(text, 'this is no database at all, but it is long enough to be read as one')
  assert.throws(() => new Journal(text), is('damaged', /text\.sqlite.*not a database/))
  const foreign = join(at, 'foreign.sqlite')
  const other = new Database(foreign)
  other.prepare('CREATE TABLE t (x)').run()
  other.close()
  const before = readFileSync(foreign)
  const byAnother = is('foreign', /foreign\.sqlite.*belongs to another program; move it away/)
  assert.throws(() => new Journal(foreign), byAnother)
  assert.throws(() => recoverJournal(foreign), byAnother)
  assert.deepEqual(readFileSync(foreign), before)
  const later = join(at, 'later.sqlite')
  new Journal(later).close()
  const raised = new Database(later)
  raised.pragma('user_version = 99')
  raised.close()
  const newer = is('later_version', /version 99, this program knows 2; use the program that wrote/)
  assert.throws(() => new Journal(later), newer)
  assert.throws(() => recoverJournal(later), newer)
  assert.throws(() => new Journal(join(at, 'no/such/x.sqlite')), is('unreachable', /directory/))
  assert.throws(() => recoverJournal(join(at, 'none.sqlite')), is('missing', /no such file/))
})

test('a journal of version 1 is taken over whole', () => {
  const path = join(folder(), 'old.sqlite')
  const old = new Database(path)
  old.pragma('journal_mode = WAL')
  old
    .prepare(
      `CREATE TABLE entry (
      kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, id)
    ) WITHOUT ROWID`,
    )
    .run()
  old.pragma('application_id = 1819633509')
  old.pragma('user_version = 1')
  const insert = old.prepare('INSERT INTO entry VALUES (?, ?, ?)')
  for (let at = 0; at < 700; at += 1) insert.run('disk', String(at), JSON.stringify({ at }))
  old.close()
  const journal = new Journal(path)
  assert.equal(journal.list('disk').length, 700)
  assert.deepEqual(journal.get('disk', '699'), { at: 699 })
  journal.close()
})

test('a recovery that was cut short at any point is finished by the next', async () => {
  const { path } = await example(false)
  rmSync(`${path}-wal`)
  const whole = join(folder(), 'whole.sqlite')
  copy(path, whole)
  recoverJournal(whole)
  const expected = new Journal(whole)
  const wanted = contents(expected)
  expected.close()
  const steps: ReadonlyArray<(victim: string) => void> = [
    (victim) => {
      writeFileSync(`${victim}.recovered`, 'half of it')
    },
    (victim) => {
      copyFileSync(whole, `${victim}.recovered`)
      renameSync(victim, `${victim}.damaged-1`)
    },
    (victim) => {
      copyFileSync(whole, `${victim}.recovered`)
      renameSync(victim, `${victim}.damaged-1`)
      renameSync(`${victim}.mark`, `${victim}.damaged-1.mark`)
    },
  ]
  for (const step of steps) {
    const victim = join(folder(), 'journal.sqlite')
    copy(path, victim)
    step(victim)
    assert.throws(() => new Journal(victim), JournalFault)
    assert.ok(recoverJournal(victim) !== null)
    const journal = new Journal(victim)
    assert.equal(contents(journal), wanted)
    journal.close()
    assert.deepEqual(
      readdirSync(join(victim, '..')).filter((name) => /recovered|salvage/.test(name)),
      [],
    )
  }
})

const writer = fileURLToPath(new URL('../../kit/journal_writer.ts', import.meta.url))

function start(path: string, seed: number) {
  const child = spawn(process.execPath, [writer, path, '8', String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said: string[] = []
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => said.push(line))
  return { child, said, lines }
}

test('a file that a living process uses is named, to this process and to others', async () => {
  const path = join(folder(), 'journal.sqlite')
  const { child, lines } = start(path, 1)
  await once(lines, 'line')
  const used = is('in_use', /another process uses it; end that process/)
  assert.throws(() => new Journal(path), used)
  assert.throws(() => recoverJournal(path), used)
  child.kill('SIGKILL')
  await once(child, 'close')
  const journal = new Journal(path)
  assert.throws(() => new Journal(path), used)
  journal.close()
})

test('kill -9 at any moment keeps what was acknowledged, and nothing by halves', async () => {
  const path = join(folder(), 'journal.sqlite')
  const random = seededRandom(17)
  for (let round = 0; round < 12; round += 1) {
    const { child, said, lines } = start(path, round)
    const enough = 1 + Math.floor(random.next() * 400)
    await new Promise<void>((resolve) => {
      lines.on('line', () => {
        if (said.length >= enough) resolve()
      })
    })
    child.kill('SIGKILL')
    await once(child, 'close')
    const acknowledged = new Map<string, number>()
    for (const line of said) {
      const [kind, id, number] = line.split(' ')
      acknowledged.set(`${kind} ${id}`, Number(number))
    }
    const journal = new Journal(path)
    for (const [name, number] of acknowledged) {
      const [kind = '', id = ''] = name.split(' ')
      if (kind === 'map') {
        const value = Number(journal.get('map', id))
        assert.ok(value === number || value === number + 1, `${name}: ${value} after ${number}`)
        continue
      }
      const { events } = journal.read('log', id, null, 1_000)
      const last = events.at(-1) ?? { seq: 0, document: null }
      const { of, at } = last.document as { of: number; at: number }
      assert.equal(at, of - 1, `${name}: the last append is whole`)
      const isNext = last.seq === number + of
      assert.ok(last.seq === number || isNext, `${name}: ${last.seq} after ${number}`)
    }
    journal.close()
  }
})

test('a disk that refuses rejects exactly what is not durable, and writing goes on afterwards', async () => {
  const path = join(folder(), 'journal.sqlite')
  // The kernel fails writes beyond this size with EFBIG, which SQLite reports as an I/O error.
  const program = `
    import { execFileSync } from 'node:child_process'
    import { Journal, NotWritten } from '#runtime/journal/journal.ts'
    const journal = new Journal(${JSON.stringify(path)})
    const fill = 'x'.repeat(1000)
    const acknowledged = []
    const refused = []
    const room = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':'])
    const tick = async (from) => await Promise.all(Array.from({ length: 10 }, async (_, at) => {
      try {
        await journal.put({ kind: 'k', id: String(from + at), document: fill })
        acknowledged.push(from + at)
      } catch (error) {
        if (!(error instanceof NotWritten)) throw error
        refused.push(from + at)
      }
    }))
    await tick(0)
    room(60000)
    for (let at = 10; at < 400; at += 10) await tick(at)
    const before = acknowledged.length
    room('unlimited')
    for (let at = 400; at < 500; at += 10) await tick(at)
    const listed = journal.list('k').map(({ id }) => Number(id))
    process.stdout.write(JSON.stringify({ acknowledged, refused, before, listed }))
    process.kill(process.pid, 'SIGKILL')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('../../../', import.meta.url)),
  })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(child, 'close')
  const told = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, number[]>
  const { acknowledged = [], refused = [], listed = [] } = told
  assert.ok(refused.length > 0, 'the disk refused some')
  assert.ok(acknowledged.filter((id) => id >= 400).length === 100, 'all went on afterwards')
  assert.deepEqual(sorted(listed), sorted(acknowledged))
  const journal = new Journal(path)
  assert.deepEqual(sorted(journal.list('k').map(({ id }) => Number(id))), sorted(acknowledged))
  journal.close()
})

const sorted = (ids: readonly number[]) => ids.toSorted((a, b) => a - b)
