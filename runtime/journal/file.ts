/**
 * The journal's file: made whole or not at all, checked to the last bit before it is used, and held
 * by one process. What is wrong with it is named by a code, with the way out.
 *
 * Beside the database lies `FILE.mark`: the row of the last commit that was acknowledged, written
 * after each commit but never waited for. It can be older than the truth (after a power cut), never
 * newer. So a database that ends before its mark has lost commits: its -wal was damaged, cut or
 * deleted, which SQLite itself takes for the normal end of a log.
 */
import { closeSync, constants, existsSync, fsyncSync, openSync, readFileSync } from 'node:fs'
import { renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import Database from 'better-sqlite3'
import { limits } from '#config/limits.ts'
import { Index, keyOf, writeLine } from './index.ts'

export type JournalTrouble =
  | 'in_use'
  | 'foreign'
  | 'later_version'
  | 'damaged'
  | 'commits_lost'
  | 'missing'
  | 'unreachable'

/** Says what is wrong with a journal's file and what to do; `code` is for programs. */
export class JournalFault extends Error {
  readonly code: JournalTrouble

  constructor(path: string, code: JournalTrouble, why: string, cause?: unknown) {
    super(`journal ${path} cannot be used: ${why}; ${remedy(path, code)}`, { cause })
    this.code = code
  }
}

export interface BatchRow {
  readonly row: number
  readonly sum: number
  readonly body: string
}

export interface OpenJournal {
  readonly db: Database.Database
  readonly index: Index
  /** Null when there is no file that could lose anything. */
  readonly mark: Mark | null
}

/** Marks the file as ours ("luge"), so that another program's database is not taken over. */
const application_id = 0x6c756765
const schema_version = 2
const table =
  'CREATE TABLE batch (row INTEGER PRIMARY KEY, sum INTEGER NOT NULL, body TEXT NOT NULL) STRICT'
/** How long another process may take to end that was told to. */
const busy_ms = 1_000

/** The sum also covers where the batch stands, so that none passes for another. */
export const sumOf = (row: number, body: string): number => crc32(body, row % 2 ** 32)

/** The files that belong to a journal, besides the database itself. */
export const besides = ['-wal', '-shm', '.mark'] as const
/** A salvaged journal that has not taken its place yet. */
export const salvaged = (path: string): string => `${path}.recovered`

/**
 * Opens the journal at `path`, or makes an empty one, for this process alone. `:memory:` is one that
 * lasts as long as the connection. Throws a JournalFault.
 */
export function openJournal(path: string): OpenJournal {
  if (path === ':memory:') return { db: make(path), index: new Index(), mark: null }
  try {
    if (!existsSync(path)) create(path)
    if (peekVersion(path) === 1) upgrade(path)
    const index = inspectJournal(path)
    const db = new Database(path, { fileMustExist: true, timeout: busy_ms })
    try {
      configure(db)
      // Whoever wrote between the inspection and the lock is gone by now, and is not what was read.
      const last = db.prepare<[], { row: number | null }>('SELECT max(row) AS row FROM batch').get()
      if ((last?.row ?? 0) !== index.last_row) throw fault(path, 'in_use')
      const mark = new Mark(path)
      mark.set(index.last_row)
      return { db, index, mark }
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    throw faultOf(path, error)
  }
}

/** Reads all of a journal without changing it, and throws a JournalFault unless all is well. */
export function inspectJournal(path: string): Index {
  let db: Database.Database | null = null
  try {
    db = openForReading(path)
    const id = Number(db.pragma('application_id', { simple: true }))
    const version = Number(db.pragma('user_version', { simple: true }))
    if (id !== application_id) throw fault(path, 'foreign')
    if (version > schema_version) {
      const why = `it is of version ${version}, this program knows ${schema_version}`
      throw new JournalFault(path, 'later_version', why)
    }
    const check = db.pragma('quick_check(1)', { simple: true })
    if (check !== 'ok') throw new Error(String(check))
    const schema = db.prepare<[], { sql: string }>('SELECT sql FROM sqlite_schema').all()
    if (schema.length !== 1 || schema[0]?.sql !== table) throw new Error('its table is not ours')
    const index = readAll(db)
    const mark = readMark(path)
    if (mark <= index.last_row) return index
    const why = `commits through ${mark} were acknowledged and it ends with ${index.last_row}, because its -wal file was damaged, cut or deleted, or the file is an old copy`
    throw new JournalFault(path, 'commits_lost', why)
  } catch (error) {
    throw faultOf(path, error)
  } finally {
    db?.close()
  }
}

/** Opens without writing to it; closing does not move what is in the -wal into the database. */
export function openForReading(path: string): Database.Database {
  if (!existsSync(path)) throw fault(path, 'missing')
  if (statSync(path).size === 0) throw new Error('the file is empty')
  return new Database(path, { readonly: true, fileMustExist: true, timeout: busy_ms })
}

/** A new database with the journal's table; the caller closes it. */
export function make(path: string): Database.Database {
  const db = new Database(path)
  try {
    db.pragma('auto_vacuum = INCREMENTAL')
    db.pragma(`application_id = ${application_id}`)
    db.prepare(table).run()
    db.pragma(`user_version = ${schema_version}`)
    configure(db)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Gives a closed, complete database its final name, so that it is there whole or not at all. */
export function install(from: string, path: string): void {
  sync(from)
  renameSync(from, path)
  sync(dirname(path))
}

/** Removes a database that was never finished. */
export function discard(path: string): void {
  for (const suffix of ['', '-journal', ...besides]) rmSync(path + suffix, { force: true })
}

export function sync(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Where acknowledged commits are noted. */
export class Mark {
  readonly #fd: number
  readonly #bytes = Buffer.alloc(mark_bytes)

  constructor(path: string) {
    this.#fd = openSync(`${path}.mark`, constants.O_RDWR | constants.O_CREAT)
  }

  /** A mark that cannot be written stays older than the truth, which is allowed. */
  set(row: number): void {
    this.#bytes.writeDoubleLE(row, 0)
    this.#bytes.writeUInt32LE(crc32(this.#bytes.subarray(0, 8)), 8)
    try {
      writeSync(this.#fd, this.#bytes, 0, mark_bytes, 0)
    } catch {
      return
    }
  }

  close(): void {
    closeSync(this.#fd)
  }
}
const mark_bytes = 12

/** The last acknowledged row; 0 when nothing tells. */
export function readMark(path: string): number {
  if (!existsSync(`${path}.mark`)) return 0
  const bytes = readFileSync(`${path}.mark`)
  const isWhole =
    bytes.length === mark_bytes && crc32(bytes.subarray(0, 8)) === bytes.readUInt32LE(8)
  return isWhole ? bytes.readDoubleLE(0) : 0
}

function create(path: string): void {
  // A file that is gone while its companions are there was lost, or a recovery was cut short.
  const left = [...besides.map((suffix) => path + suffix), salvaged(path)].filter(existsSync)
  if (left.length > 0) {
    throw new JournalFault(path, 'missing', `the file is gone, but ${left.join(', ')} is there`)
  }
  // SQLite's own error for a missing directory does not name it.
  statSync(dirname(path))
  const fresh = `${path}.new`
  discard(fresh)
  make(fresh).close()
  install(fresh, path)
}

/** WAL with a sync for every commit, and a lock that keeps every other process out until the end. */
function configure(db: Database.Database): void {
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.pragma(`journal_size_limit = ${limits.journal_wal_bytes_max}`)
  // The first read enters WAL mode with a wal-index on disk; only then may the lock be exclusive.
  db.pragma('user_version')
  db.pragma('locking_mode = EXCLUSIVE')
  db.prepare('BEGIN IMMEDIATE').run()
  db.prepare('COMMIT').run()
}

function readAll(db: Database.Database): Index {
  const index = new Index()
  for (const { row, sum, body } of db
    .prepare<[], BatchRow>('SELECT row, sum, body FROM batch ORDER BY row')
    .iterate()) {
    if (sum !== sumOf(row, body)) throw new Error(`the sum of commit ${row} is wrong`)
    const [complaint] = index.add(row, body)
    if (complaint !== undefined) throw new Error(`commit ${row}: ${complaint}`)
  }
  const [gap] = index.gaps().values()
  if (gap !== undefined) throw new Error(gap)
  return index
}

function peekVersion(path: string): number {
  const db = openForReading(path)
  try {
    const isOurs = db.pragma('application_id', { simple: true }) === application_id
    return isOurs ? Number(db.pragma('user_version', { simple: true })) : 0
  } finally {
    db.close()
  }
}

/** Version 1 was a table of entries. */
function upgrade(path: string): void {
  const db = new Database(path, { fileMustExist: true, timeout: busy_ms })
  try {
    const check = db.pragma('quick_check(1)', { simple: true })
    if (check !== 'ok') throw new Error(String(check))
    db.transaction(() => {
      db.prepare(table).run()
      const insert = db.prepare('INSERT INTO batch (row, sum, body) VALUES (?, ?, ?)')
      const entries = db.prepare<[], { kind: string; id: string; document: string }>(
        'SELECT kind, id, document FROM entry ORDER BY kind, id',
      )
      for (const [at, { kind, id, document }] of entries.all().entries()) {
        const body = writeLine({ type: 's', seq: 0, key: keyOf(kind, id), json: document })
        insert.run(at + 1, sumOf(at + 1, body), body)
      }
      db.prepare('DROP TABLE entry').run()
      db.pragma(`user_version = ${schema_version}`)
    })()
    db.pragma('auto_vacuum = INCREMENTAL')
    db.prepare('VACUUM').run()
  } finally {
    db.close()
  }
}

function fault(path: string, code: 'in_use' | 'foreign' | 'missing'): JournalFault {
  const why = {
    in_use: 'another process uses it',
    foreign: 'it belongs to another program',
    missing: 'there is no such file',
  }
  return new JournalFault(path, code, why[code])
}

function faultOf(path: string, error: unknown): JournalFault {
  if (error instanceof JournalFault) return error
  const code = codeOf(error)
  if (code.startsWith('SQLITE_BUSY')) return fault(path, 'in_use')
  if (/^SQLITE_(CANTOPEN|READONLY|PERM|IOERR|FULL)|^E[A-Z]+$/.test(code)) {
    return new JournalFault(path, 'unreachable', 'the file or its directory refuses', error)
  }
  return new JournalFault(path, 'damaged', 'it is damaged', error)
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

function remedy(path: string, code: JournalTrouble): string {
  switch (code) {
    case 'in_use':
      return 'end that process, then try again'
    case 'foreign':
      return 'move it away, or name another file'
    case 'later_version':
      return 'use the program that wrote it, or a later one'
    case 'unreachable':
      return 'see to the disk, and that this user may read and write file and directory'
    case 'damaged':
    case 'commits_lost':
    case 'missing':
      return `"luge journal recover ${path}" keeps all that can be read and puts the old file aside`
  }
}
