/**
 * Looks a journal over, and salvages a damaged one: what can be read goes into a new file, which
 * takes the place of the old one; the old one and its companions are kept beside it.
 */
import { copyFileSync, existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type Database from 'better-sqlite3'
import {
  type BatchRow,
  besides,
  discard,
  inspectJournal,
  install,
  JournalFault,
  make,
  openForReading,
  readMark,
  salvaged,
  sumOf,
  sync,
} from './file.ts'
import { Index, writeLine } from './index.ts'
import { explain } from '../result.ts'

export interface Recovered {
  /** Why it was needed. */
  readonly why: string
  readonly commits: number
  readonly streams: number
  /** What is known to be lost, in sentences. Beyond that, what nothing tells of may be lost. */
  readonly lost: readonly string[]
  /** Where the old file is now. */
  readonly aside: string
}

/**
 * Salvages the journal at `path`; null when it is sound. Throws a JournalFault when the file is not
 * ours to judge: in use, another program's, a later version's, or out of reach. May be repeated
 * after a kill at any moment.
 */
export function recoverJournal(path: string): Recovered | null {
  const why = troubleOf(path)
  if (why === null) return null
  const fresh = salvaged(path)
  const number = asideNumber(path)
  // Once the old file was put aside, the new one is complete: only the last steps are left.
  if (existsSync(path) || !existsSync(fresh)) {
    const { commits, streams, lost } = salvage(path, fresh)
    const aside = `${path}.damaged-${number + 1}`
    if (existsSync(path)) renameSync(path, aside)
    finish(path, aside)
    return { why, commits, streams, lost, aside }
  }
  const aside = `${path}.damaged-${number}`
  finish(path, aside)
  const index = inspectJournal(path)
  const lost = ['what an earlier recovery, cut short, found lost: it was not noted']
  return { why, commits: index.last_row, streams: index.streams.size, lost, aside }
}

function troubleOf(path: string): string | null {
  try {
    inspectJournal(path)
    return null
  } catch (error) {
    if (!(error instanceof JournalFault)) throw error
    if (!['damaged', 'commits_lost', 'missing'].includes(error.code)) throw error
    if (!isAnyThere(path) && !existsSync(salvaged(path))) throw error
    return explain(error)
  }
}

/** The old -wal must be away before the new file has the name: SQLite would take it for its own. */
function finish(path: string, aside: string): void {
  for (const suffix of besides) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix)
  }
  sync(dirname(path))
  install(salvaged(path), path)
}

/** The highest number that an earlier recovery used; 0 when there was none. */
function asideNumber(path: string): number {
  let number = 0
  while (isAnyThere(`${path}.damaged-${number + 1}`)) number += 1
  return number
}

const isAnyThere = (path: string): boolean =>
  ['', ...besides].some((suffix) => existsSync(path + suffix))

function salvage(path: string, fresh: string): Pick<Recovered, 'commits' | 'streams' | 'lost'> {
  const copy = `${path}.salvage`
  discard(copy)
  discard(fresh)
  const lost: string[] = []
  try {
    const batches = readableBatches(path, copy, lost)
    const index = new Index()
    const db = make(fresh)
    try {
      write(db, batches, index, lost)
    } finally {
      db.close()
    }
    const streams = index.streams.size
    return { commits: batches.length, streams, lost }
  } finally {
    discard(copy)
  }
}

/** Writes batches as they are, save for what makes no sense without what is lost. */
function write(
  db: Database.Database,
  batches: readonly BatchRow[],
  index: Index,
  lost: string[],
): void {
  const insert = db.prepare('INSERT INTO batch (row, sum, body) VALUES (?, ?, ?)')
  db.transaction(() => {
    for (const { row, body } of batches) {
      const complaints = index.add(row, body)
      lost.push(...complaints)
      // Only what is out of order goes; what is dead is left to compaction.
      const kept = complaints.length === 0 ? body : index.blanked(row, body)
      insert.run(row, sumOf(row, kept), kept)
    }
    const gaps = index.gaps()
    if (gaps.size === 0) return
    const row = index.last_row + 1
    const removals = [...gaps.keys()].map((key) => writeLine({ type: 'r', seq: 0, key, json: '' }))
    lost.push(...gaps.values())
    for (const [at, body] of removals.entries()) {
      insert.run(row + at, sumOf(row + at, body), body)
      index.add(row + at, body)
    }
  })()
}

/** Reads from a copy: as it is, then without the -wal, then with the first page replaced. */
function readableBatches(path: string, copy: string, lost: string[]): readonly BatchRow[] {
  if (!existsSync(path) || statSync(path).size === 0) {
    lost.push('the file was gone or empty: all that was in it')
    return []
  }
  const attempts = [
    () => {
      copyFileSync(path, copy)
      if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`)
    },
    () => {
      rmSync(`${copy}-wal`, { force: true })
    },
    () => {
      replaceFirstPage(copy)
    },
  ]
  let best: { rows: readonly BatchRow[]; lost: readonly string[] } = { rows: [], lost: [] }
  for (const prepare of attempts) {
    rmSync(`${copy}-shm`, { force: true })
    prepare()
    const found = scan(copy, readMark(path))
    if (found.rows.length > best.rows.length || best.rows.length === 0) best = found
  }
  lost.push(...best.lost)
  return best.rows
}

/** The first page says how to read the file and never differs but for the file's size. */
function replaceFirstPage(copy: string): void {
  const model = `${copy}-model`
  make(model).close()
  const page = readFileSync(model).subarray(0, page_bytes)
  rmSync(model)
  page.writeUInt32BE(Math.floor(statSync(copy).size / page_bytes), 28)
  const fd = openSync(copy, 'r+')
  writeSync(fd, page, 0, page.length, 0)
  closeSync(fd)
}
const page_bytes = 4096

/** All batches whose sum is right, found around the pages that cannot be read. */
function scan(file: string, mark: number): { rows: readonly BatchRow[]; lost: readonly string[] } {
  const rows = new Map<number, BatchRow>()
  const lost: string[] = []
  try {
    const db = openForReading(file)
    try {
      const range = 'SELECT row, sum, body FROM batch WHERE row BETWEEN ? AND ? ORDER BY row'
      const up = db.prepare<[number, number], BatchRow>(range)
      const down = db.prepare<[number, number], BatchRow>(`${range} DESC`)
      const walk = (statement: typeof up, low: number, high: number, found: number): number => {
        let last = found
        try {
          for (const batch of statement.iterate(low, high)) {
            last = batch.row
            if (batch.sum === sumOf(batch.row, batch.body)) rows.set(batch.row, batch)
            else lost.push(`commit ${batch.row}: its sum is wrong`)
          }
          return statement === up ? high : low
        } catch {
          return last
        }
      }
      const between = (low: number, high: number): void => {
        if (low > high) return
        const from = walk(up, low, high, low - 1)
        if (from >= high) return
        const to = walk(down, from + 1, high, high + 1)
        if (to <= from + 1) return
        if (to - from - 1 <= 2) {
          lost.push(`commits ${from + 1} to ${to - 1}: the file cannot be read there`)
          return
        }
        const middle = Math.floor((from + to) / 2)
        between(from + 1, middle)
        between(middle + 1, to - 1)
      }
      between(1, highest(db, mark))
    } finally {
      db.close()
    }
  } catch (error) {
    lost.push(`the file cannot be opened as a database: ${explain(error)}`)
  }
  return { rows: [...rows.values()].toSorted((a, b) => a.row - b.row), lost }
}

/** The highest row; when the end of the file cannot be read, the one that the mark tells of. */
function highest(db: Database.Database, mark: number): number {
  try {
    const found = db.prepare<[], { row: number | null }>('SELECT max(row) AS row FROM batch').get()
    return found?.row ?? 0
  } catch {
    return mark
  }
}
