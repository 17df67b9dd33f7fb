/**
 * A durable map from (kind, id) to a JSON document, in one SQLite file: WAL with synchronous=FULL,
 * so that a `put` that was acknowledged survives a power cut. Writes of one tick share a commit.
 */
import Database from 'better-sqlite3'
import { explain } from './result.ts'

export interface Entry {
  readonly kind: string
  readonly id: string
  readonly document: unknown
}
interface Write {
  readonly kind: string
  readonly id: string
  /** Null removes the entry. */
  readonly json: string | null
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}
interface Row {
  readonly kind: string
  readonly id: string
  readonly document: string
}

/** Marks the file as ours ("luge"), so that another program's database is not taken over. */
const application_id = 0x6c756765
const schema_version = 1

export class Journal {
  readonly #db: Database.Database
  readonly #get: Database.Statement<[string, string], Row>
  readonly #list: Database.Statement<[string | null, string | null], Row>
  readonly #commit: (writes: readonly Write[]) => void
  #waiting: Write[] = []

  /**
   * Opens or makes the journal. Throws with the file's name and what to do when the file is
   * damaged, belongs to another program, or was written by a later version.
   */
  constructor(path: string) {
    this.#db = openChecked(path)
    this.#get = this.#db.prepare('SELECT kind, id, document FROM entry WHERE kind = ? AND id = ?')
    this.#list = this.#db.prepare(
      'SELECT kind, id, document FROM entry WHERE ? IS NULL OR kind = ? ORDER BY kind, id',
    )
    const put = this.#db.prepare(
      'INSERT INTO entry (kind, id, document) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document',
    )
    const remove = this.#db.prepare('DELETE FROM entry WHERE kind = ? AND id = ?')
    this.#commit = this.#db.transaction((writes: readonly Write[]) => {
      for (const { kind, id, json } of writes) {
        if (json === null) remove.run(kind, id)
        else put.run(kind, id, json)
      }
    })
  }

  /** The document of an entry, or null. Sees writes of this tick only once they are durable. */
  get(kind: string, id: string): unknown {
    const row = this.#get.get(kind, id)
    return row === undefined ? null : JSON.parse(row.document)
  }

  /** All entries, or those of one kind, ordered by kind and id. */
  list(kind: string | null): readonly Entry[] {
    return this.#list
      .all(kind, kind)
      .map((row) => ({ kind: row.kind, id: row.id, document: JSON.parse(row.document) as unknown }))
  }

  /** Ends when the entry is on the disk. Rejects when the disk refuses it. */
  async put(entry: Entry): Promise<void> {
    await this.#write(entry.kind, entry.id, JSON.stringify(entry.document))
  }

  async remove(kind: string, id: string): Promise<void> {
    await this.#write(kind, id, null)
  }

  close(): void {
    this.#flush()
    this.#db.close()
  }

  async #write(kind: string, id: string, json: string | null): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ kind, id, json, resolve, reject })
    if (this.#waiting.length === 1) {
      setImmediate(() => {
        this.#flush()
      })
    }
    await promise
  }

  #flush(): void {
    const writes = this.#waiting
    this.#waiting = []
    if (writes.length === 0) return
    try {
      this.#commit(writes)
    } catch (error) {
      for (const write of writes) write.reject(error)
      return
    }
    for (const write of writes) write.resolve()
  }
}

function openChecked(path: string): Database.Database {
  const remedy = 'move it away to begin with an empty journal, or restore a copy'
  let db: Database.Database | null = null
  try {
    db = new Database(path)
    const id = db.pragma('application_id', { simple: true })
    const version = db.pragma('user_version', { simple: true })
    const isEmpty = db.pragma('page_count', { simple: true }) === 0
    if (!isEmpty && id !== application_id) throw new Error('it belongs to another program')
    if (Number(version) > schema_version) {
      throw new Error(`it is of version ${String(version)}, this program knows ${schema_version}`)
    }
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    const check = db.pragma('quick_check', { simple: true })
    if (check !== 'ok') throw new Error(`it is damaged: ${String(check)}`)
    db.prepare(`CREATE TABLE IF NOT EXISTS entry (
      kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (kind, id)
    ) WITHOUT ROWID`).run()
    db.pragma(`application_id = ${application_id}`)
    db.pragma(`user_version = ${schema_version}`)
    return db
  } catch (cause) {
    db?.close()
    throw new Error(`journal ${path} cannot be used (${explain(cause)}): ${remedy}`, { cause })
  }
}
