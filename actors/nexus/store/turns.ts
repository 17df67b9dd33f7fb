/**
 * What of one turn of the event loop is SQLite's to do is one transaction of the file: reads share one look
 * at it, and writes one commit and one sync of the disk. Without that each of a request's statements would
 * lock and unlock the file, and each write of many requests at once would wait for a sync of its own.
 *
 *   idle ──read──► reading ──write──► writing ──end of the turn──► idle
 *
 * Transactions of Nexus are savepoints in it: one at a time, with nothing else in between. When a turn
 * cannot be committed, all of it is undone and everybody in it told.
 *
 * What is committed is in the file for whoever reads it, and for the next process should this one be killed;
 * the disk may not have it yet. It is synced while the next turns go on, several turns at once. Whoever
 * wrote, or saw what was written, goes on when that is durable. When the disk does not take it, nobody can
 * say any more what it has: all are told, and nothing is read or written until the file is opened anew.
 */
import type Database from 'better-sqlite3'

type State = 'idle' | 'reading' | 'writing'
const commands = {
  look: 'begin',
  write: 'begin immediate',
  commit: 'commit',
  undo: 'rollback',
  savepoint: 'savepoint nexus',
  keep: 'release nexus',
  back: 'rollback to nexus',
} as const

type Outcome = PromiseWithResolvers<void>

/** A transaction of Nexus; `ended` tells those who wait for their turn. */
export interface Transaction {
  readonly ended: PromiseWithResolvers<void>
  /** Why there is nothing left of it: SQLite has rolled everything back. */
  lost: Error | null
}

export class Turns {
  readonly #file: Database.Database
  readonly #commands = new Map<string, Database.Statement>()
  #state: State = 'idle'
  #isScheduled = false
  #transaction: Transaction | null = null
  /** Settled when what was written in this turn is durable, or is not. */
  #written = newOutcome()
  /** Has the disk take what is committed; null where there is no disk. */
  readonly #sync: (() => Promise<void>) | null
  /** Outcomes of turns that are committed and not yet durable, the oldest first. */
  #unsynced: Outcome[] = []
  #isSyncing = false
  #broken: Error | null = null

  constructor(file: Database.Database, sync: (() => Promise<void>) | null) {
    this.#file = file
    this.#sync = sync
  }

  /** Runs one statement that is no part of a transaction; ends when what it saw and wrote is durable. */
  async alone<R>(kind: 'read' | 'write', work: () => R): Promise<R> {
    while (this.#transaction !== null) await this.#transaction.ended.promise
    this.#enter(kind)
    const done = this.#guard(work)
    const seen = this.#state === 'writing' ? this.#written : this.#unsynced.at(-1)
    if (seen !== undefined) await seen.promise
    return done
  }

  /** Begins a transaction, when those before it have ended. */
  async begin(): Promise<Transaction> {
    while (this.#transaction !== null) await this.#transaction.ended.promise
    this.#enter('write')
    this.#command('savepoint')
    this.#transaction = { ended: Promise.withResolvers<void>(), lost: null }
    return this.#transaction
  }

  /** Runs one statement of a transaction. */
  within<R>(transaction: Transaction, work: () => R): R {
    if (transaction.lost !== null) throw transaction.lost
    return this.#guard(work)
  }

  /** Ends when the transaction is durable; throws when it is undone instead. */
  async commit(transaction: Transaction): Promise<void> {
    if (transaction.lost !== null) throw transaction.lost
    this.#guard(() => {
      this.#command('keep')
    })
    const { promise } = this.#written
    this.#leave(transaction)
    await promise
  }

  /** Ends when what the transaction saw is durable or gone. */
  async rollback(transaction: Transaction): Promise<void> {
    // It may have been left already: its commit failed.
    if (this.#transaction !== transaction) return
    const { promise } = this.#written
    try {
      if (transaction.lost === null) {
        this.#command('back')
        this.#command('keep')
      }
    } finally {
      this.#leave(transaction)
    }
    await promise.catch(() => undefined)
  }

  /** Ends the turn and closes the file; ends when all is durable. */
  async close(): Promise<void> {
    if (this.#transaction === null) this.#end()
    this.#file.close()
    await this.#unsynced.at(-1)?.promise.catch(() => undefined)
  }

  #enter(kind: 'read' | 'write'): void {
    if (this.#broken !== null) throw this.#broken
    // A look cannot become a write when another process has written since.
    if (kind === 'write' && this.#state === 'reading') this.#end()
    if (this.#state !== 'idle') return
    this.#command(kind === 'write' ? 'write' : 'look')
    this.#state = kind === 'write' ? 'writing' : 'reading'
    this.#schedule()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      // A transaction that takes longer than a turn is waited for.
      if (this.#transaction === null) this.#end()
    })
  }

  #leave(transaction: Transaction): void {
    this.#transaction = null
    transaction.ended.resolve()
    if (this.#state !== 'idle') this.#schedule()
  }

  #end(): void {
    if (this.#state === 'idle') return
    try {
      this.#command('commit')
    } catch (error) {
      if (this.#file.inTransaction) this.#command('undo')
      this.#lose(error)
      return
    }
    const isWritten = this.#state === 'writing'
    this.#state = 'idle'
    if (isWritten) this.#committed(this.#next())
  }

  #committed(outcome: Outcome): void {
    if (this.#broken !== null) outcome.reject(this.#broken)
    else if (this.#sync === null) outcome.resolve()
    else {
      this.#unsynced.push(outcome)
      if (!this.#isSyncing) void this.#syncAll(this.#sync)
    }
  }

  /** What is committed while the disk is busy is synced together. */
  async #syncAll(sync: () => Promise<void>): Promise<void> {
    this.#isSyncing = true
    try {
      while (this.#unsynced.length > 0) {
        const count = this.#unsynced.length
        await sync()
        for (const outcome of this.#unsynced.splice(0, count)) outcome.resolve()
      }
    } catch (cause) {
      this.#broken = Object.assign(new Error('what is written cannot be made durable', { cause }), {
        code: 'SQLITE_IOERR_FSYNC',
      })
      for (const outcome of this.#unsynced.splice(0)) outcome.reject(this.#broken)
    } finally {
      this.#isSyncing = false
    }
  }

  /** A full disk, for one, makes SQLite roll back all of the turn. */
  #guard<R>(work: () => R): R {
    try {
      return work()
    } catch (error) {
      if (!this.#file.inTransaction) this.#lose(error)
      throw error
    }
  }

  #lose(cause: unknown): void {
    const error = cause instanceof Error ? cause : new Error('SQLite has undone it', { cause })
    this.#state = 'idle'
    if (this.#transaction !== null) this.#transaction.lost = error
    this.#next().reject(error)
  }

  #next(): Outcome {
    const written = this.#written
    this.#written = newOutcome()
    return written
  }

  #command(name: keyof typeof commands): void {
    const known = this.#commands.get(name) ?? this.#file.prepare(commands[name])
    this.#commands.set(name, known)
    known.run()
  }
}

function newOutcome(): Outcome {
  const outcome = Promise.withResolvers<void>()
  // Perhaps nobody has written anything that could be lost.
  outcome.promise.catch(() => undefined)
  return outcome
}
