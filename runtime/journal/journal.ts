/**
 * The durable memory of a process, in one SQLite file: streams, each named by kind and id. A stream
 * is a document and the events that were appended after it. `put` replaces the document and
 * everything before; `append` adds events, numbered from 1; `snapshot` puts a document in the place
 * of the events through a number. Who only puts, gets and removes has a map.
 *
 * All of it is one log: what was written in one tick is one row, one commit and one sync of the disk.
 */
import assert from 'node:assert/strict'
import type Database from 'better-sqlite3'
import { limits } from '#config/limits.ts'
import { type BatchRow, type Mark, openJournal, sumOf } from './file.ts'
import { type Index, keyOf, lastOf, lineOf, readLine, rowOf, writeLine } from './index.ts'
import { err, ok, type Result } from '../result.ts'

export interface Entry {
  readonly kind: string
  readonly id: string
  readonly document: unknown
}
/** A part of a stream. Reading goes on after `next`; null says that this is all there is. */
export interface Page {
  /** Given when it stands for something that was asked for. */
  readonly snapshot: { readonly through: number; readonly document: unknown } | null
  readonly events: ReadonlyArray<{ readonly seq: number; readonly document: unknown }>
  readonly next: number | null
}

/** What a write comes to, given where its stream is: lines, or why it may not be. */
type Encode = (position: Position) => readonly string[] | string
interface Position {
  last: number
  through: number
  exists: boolean
}
interface Write {
  readonly key: string
  readonly lines: number
  readonly bytes: number
  readonly encode: Encode
  /** Told the stream's last number, or why nothing was written. */
  readonly resolve: (result: Result<number, 'conflict'>) => void
  readonly reject: (error: unknown) => void
}

/** The disk refused: nothing of the write is there, and later ones may succeed. */
export class NotWritten extends Error {}

export class Journal {
  /** Commits and the writes in them since it was opened, for people. */
  commits = 0
  writes = 0
  readonly #path: string
  readonly #db: Database.Database
  readonly #index: Index
  readonly #mark: Mark | null
  readonly #insert: Database.Statement<[number, number, string]>
  readonly #update: Database.Statement<[number, string, number]>
  readonly #delete: Database.Statement<[number]>
  readonly #select: Database.Statement<[number], BatchRow>
  #waiting: Write[] = []
  #compacting: Promise<void> | null = null
  #isOpen = true

  /**
   * Opens or makes the journal at `path` for this process alone; `:memory:` lasts until it is
   * closed. Reads and checks all of it. Throws a JournalFault that names the file, what is wrong,
   * and what to do.
   */
  constructor(path: string) {
    const { db, index, mark } = openJournal(path)
    this.#path = path
    this.#db = db
    this.#index = index
    this.#mark = mark
    this.#insert = db.prepare('INSERT INTO batch (row, sum, body) VALUES (?, ?, ?)')
    this.#update = db.prepare('UPDATE batch SET sum = ?, body = ? WHERE row = ?')
    this.#delete = db.prepare('DELETE FROM batch WHERE row = ?')
    this.#select = db.prepare('SELECT row, sum, body FROM batch WHERE row = ?')
  }

  /**
   * A stream's document, or null. Like all reading, sees what was written before, once it is durable: a
   * write that still waited would change afterwards what was read.
   */
  get(kind: string, id: string): unknown {
    this.#flush()
    const snapshot = this.#index.streams.get(keyOf(kind, id))?.snapshot ?? null
    return snapshot === null ? null : this.#documentAt(snapshot, new Map())
  }

  /** The streams that have a document, all or those of one kind, ordered by kind and id. */
  list(kind: string | null): readonly Entry[] {
    this.#flush()
    const prefix = kind === null ? '' : `${JSON.stringify(kind)}\t`
    const bodies = new Map<number, readonly string[]>()
    const found: Entry[] = []
    for (const { key, snapshot } of this.#index.streams.values()) {
      if (snapshot === null || !key.startsWith(prefix)) continue
      const [one = '', id = ''] = key.split('\t')
      const document = this.#documentAt(snapshot, bodies)
      found.push({ kind: text(one), id: text(id), document })
    }
    return found.toSorted((a, b) => compare(a.kind, b.kind) + compare(a.id, b.id) / 2)
  }

  /**
   * A stream after event `after` (null: from its beginning): the snapshot, if it stands for anything
   * of that, and the events that follow, at most `limit` of them and about a mebibyte.
   */
  read(kind: string, id: string, after: number | null, limit: number): Page {
    assert(limit > 0, 'a page has room for an event')
    this.#flush()
    const stream = this.#index.streams.get(keyOf(kind, id))
    if (stream === undefined) return { snapshot: null, events: [], next: null }
    const bodies = new Map<number, readonly string[]>()
    const { through, first, events } = stream
    const isBehind = stream.snapshot !== null && (after ?? -1) < through
    const snapshot =
      stream.snapshot !== null && isBehind
        ? { through, document: this.#documentAt(stream.snapshot, bodies) }
        : null
    const page: Array<{ seq: number; document: unknown }> = []
    let bytes = 0
    for (let seq = Math.max((after ?? 0) + 1, first); seq <= lastOf(stream); seq += 1) {
      if (page.length >= limit || bytes >= limits.journal_read_bytes_max) {
        return { snapshot, events: page, next: seq - 1 }
      }
      const json = this.#jsonAt(events[seq - first] ?? 0, bodies)
      bytes += json.length
      page.push({ seq, document: JSON.parse(json) as unknown })
    }
    return { snapshot, events: page, next: null }
  }

  /** Replaces a stream by a document. Ends when that is on the disk; rejects when the disk refuses. */
  async put(entry: Entry): Promise<void> {
    const { key, json } = keyed(entry.kind, entry.id, entry.document)
    await this.#write(key, [json], (position) => {
      position.through = position.last
      position.exists = true
      return [writeLine({ type: 's', seq: position.last, key, json })]
    })
  }

  /** Forgets a stream; one of the same name begins anew, at 1. */
  async remove(kind: string, id: string): Promise<void> {
    const key = keyOf(kind, id)
    await this.#write(key, [''], (position) => {
      if (!position.exists) return []
      Object.assign(position, { last: 0, through: 0, exists: false })
      return [writeLine({ type: 'r', seq: 0, key, json: '' })]
    })
  }

  /** Adds events to a stream, all or none. Gives back the number of the last. */
  async append(kind: string, id: string, documents: readonly unknown[]): Promise<number> {
    assert(documents.length <= limits.journal_append_max, 'an append has journal_append_max events')
    const key = keyOf(kind, id)
    const jsons = documents.map((document) => keyed(kind, id, document).json)
    const written = await this.#write(key, jsons, (position) => {
      position.exists ||= jsons.length > 0
      return jsons.map((json) => {
        position.last += 1
        return writeLine({ type: 'e', seq: position.last, key, json })
      })
    })
    assert(written.ok, 'an append fits any stream')
    return written.value
  }

  /**
   * Lets a document stand for a stream's events through `through`, which are then gone. Refused with
   * `conflict` when there is no such event, or a snapshot stands for more already.
   */
  async snapshot(entry: Entry, through: number): Promise<Result<null, 'conflict'>> {
    assert(Number.isSafeInteger(through) && through >= 0, 'events have numbers')
    const { key, json } = keyed(entry.kind, entry.id, entry.document)
    const written = await this.#write(key, [json], (position) => {
      if (through > position.last || through < position.through) {
        return `stream ${key} has a snapshot through ${position.through} and events through ${position.last}: none can be made through ${through}`
      }
      position.through = through
      position.exists = true
      return [writeLine({ type: 's', seq: through, key, json })]
    })
    return written.ok ? ok(null) : written
  }

  /**
   * Gives the disk back what snapshots, puts and removals made superfluous: in small steps, between
   * which everything else goes on. It also begins by itself when half of the file is dead. Rejects
   * when the disk refuses; nothing is lost by that.
   */
  async compact(): Promise<void> {
    this.#compacting ??= this.#compact().finally(() => {
      this.#compacting = null
    })
    try {
      await this.#compacting
    } catch (cause) {
      throw new NotWritten(`journal ${this.#path} could not be compacted`, { cause })
    }
  }

  /** What is kept, for people: streams, and bytes that are alive and dead. */
  inspect(): {
    readonly streams: number
    readonly live_bytes: number
    readonly dead_bytes: number
  } {
    const { streams, live_bytes, dead_bytes } = this.#index
    return { streams: streams.size, live_bytes, dead_bytes }
  }

  /** Writes what waits, then lets go of the file. */
  close(): void {
    if (!this.#isOpen) return
    this.#flush()
    this.#isOpen = false
    this.#db.close()
    this.#mark?.close()
  }

  async #write(
    key: string,
    jsons: readonly string[],
    encode: Encode,
  ): Promise<Result<number, 'conflict'>> {
    if (!this.#isOpen) throw new Error(`journal ${this.#path} is closed`)
    const { promise, resolve, reject } = Promise.withResolvers<Result<number, 'conflict'>>()
    const bytes = jsons.reduce((sum, json) => sum + json.length, 0)
    this.#waiting.push({ key, lines: jsons.length, bytes, encode, resolve, reject })
    if (this.#waiting.length === 1) {
      setImmediate(() => {
        this.#flush()
      })
    }
    return await promise
  }

  /** Commits everything that waits, in as few commits as their bounds allow. */
  #flush(): void {
    if (this.#waiting.length === 0) return
    const writes = this.#waiting
    this.#waiting = []
    for (let from = 0; from < writes.length;) {
      const until = endOfCommit(writes, from)
      this.#commit(writes.slice(from, until))
      from = until
    }
    const { dead_bytes, live_bytes } = this.#index
    if (dead_bytes > Math.max(limits.journal_dead_bytes_max, live_bytes) && this.#isOpen) {
      // The disk may refuse: nothing is lost, and the next write tries again.
      this.compact().catch(() => null)
    }
  }

  #commit(writes: readonly Write[]): void {
    const positions = new Map<string, Position>()
    const lines: string[] = []
    const results = writes.map(({ key, encode }): Result<number, 'conflict'> => {
      const position = positions.get(key) ?? this.#positionOf(key)
      positions.set(key, position)
      const encoded = encode(position)
      if (typeof encoded === 'string') return err('conflict', encoded)
      for (const line of encoded) lines.push(line)
      return ok(position.last)
    })
    if (lines.length > 0) {
      const row = this.#index.last_row + 1
      const body = lines.join('\n')
      try {
        this.#insert.run(row, sumOf(row, body), body)
      } catch (cause) {
        this.#undo()
        const error = new NotWritten(`journal ${this.#path} was not written`, { cause })
        for (const write of writes) write.reject(error)
        return
      }
      this.commits += 1
      this.writes += writes.length
      this.#mark?.set(row)
      const complaints = this.#index.add(row, body)
      assert.deepEqual(complaints, [], 'what was written can be read')
    }
    for (const [at, result] of results.entries()) writes[at]?.resolve(result)
  }

  #positionOf(key: string): Position {
    const stream = this.#index.streams.get(key)
    if (stream === undefined) return { last: 0, through: 0, exists: false }
    return { last: lastOf(stream), through: stream.through, exists: true }
  }

  /**
   * A commit whose sync failed may still lie whole in the -wal, and a crash would bring it back
   * although it was refused. Starting the -wal anew leaves nothing of it.
   */
  #undo(): void {
    try {
      this.#db.pragma('wal_checkpoint(TRUNCATE)')
    } catch {
      // The next commit overwrites it.
    }
  }

  async #compact(): Promise<void> {
    // What becomes dead meanwhile in newer commits is for the next time, or this would never end.
    const until = this.#index.last_row
    do {
      for (;;) {
        const rows = this.#index.dirty(until, limits.journal_compact_bytes_max)
        if (rows.length === 0) break
        this.#clean(rows)
        if (!(await this.#goesOn())) return
      }
    } while (this.#index.forgetRemovals(until))
    const free = () => Number(this.#db.pragma('freelist_count', { simple: true }))
    for (let before = Infinity; free() > 0 && free() < before;) {
      before = free()
      this.#db.pragma(`incremental_vacuum(${vacuum_pages})`)
      if (!(await this.#goesOn())) return
    }
    this.#db.pragma('wal_checkpoint(TRUNCATE)')
  }

  /** Others get their turn. Whether the journal is still open after that. */
  async #goesOn(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>()
    setImmediate(resolve)
    await promise
    return this.#isOpen
  }

  #clean(rows: readonly number[]): void {
    const rewrite = this.#db.transaction(() => {
      for (const row of rows) {
        if (this.#index.isDead(row)) {
          this.#delete.run(row)
          continue
        }
        const body = this.#index.blanked(row, this.#linesOf(row, new Map()).join('\n'))
        this.#update.run(sumOf(row, body), body, row)
      }
    })
    rewrite()
    for (const row of rows) this.#index.cleaned(row)
  }

  #documentAt(place: number, bodies: Map<number, readonly string[]>): unknown {
    return JSON.parse(this.#jsonAt(place, bodies))
  }

  #jsonAt(place: number, bodies: Map<number, readonly string[]>): string {
    const line = readLine(this.#linesOf(rowOf(place), bodies)[lineOf(place)] ?? '')
    assert(line !== null, `journal ${this.#path}: the index points to no line`)
    return line.json
  }

  /** `bodies` remembers, for the length of one call. */
  #linesOf(row: number, bodies: Map<number, readonly string[]>): readonly string[] {
    const known = bodies.get(row)
    if (known !== undefined) return known
    const found = this.#select.get(row)
    if (found === undefined || found.sum !== sumOf(row, found.body)) {
      throw new Error(`journal ${this.#path}: commit ${row} went bad while the file was in use`)
    }
    const lines = found.body.split('\n')
    bodies.set(row, lines)
    return lines
  }
}

/** Pages that one step of compaction gives back. */
const vacuum_pages = 64

const text = (json: string): string => String(JSON.parse(json))
const compare = (a: string, b: string): number => Number(a > b) - Number(a < b)

/** A document that cannot be written is a bug of who wrote it, and must not fail others' commit. */
function keyed(kind: string, id: string, document: unknown): { key: string; json: string } {
  const json: unknown = JSON.stringify(document)
  if (typeof json !== 'string') throw new TypeError(`journal: ${kind} ${id} is no JSON value`)
  if (json.length > limits.journal_document_bytes_max) {
    throw new RangeError(
      `journal: ${kind} ${id} has ${json.length} characters, ${limits.journal_document_bytes_max} are the most`,
    )
  }
  return { key: keyOf(kind, id), json }
}

/** As many writes as fit in one commit, and at least one. */
function endOfCommit(writes: readonly Write[], from: number): number {
  let lines = 0
  let bytes = 0
  let at = from
  for (const write of writes.slice(from)) {
    lines += write.lines
    bytes += write.bytes
    const isFull =
      lines > limits.journal_commit_lines_max || bytes > limits.journal_commit_bytes_max
    if (isFull && at > from) break
    at += 1
  }
  return at
}
