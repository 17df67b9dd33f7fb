/**
 * One connection to PostgreSQL for short reads of many requests at once. Each is a transaction by itself, so
 * none has to wait for the answer to the one before; what is asked for in one turn of the event loop is sent
 * by one write, and often answered by one. Without that, each statement is a write that wakes a process of the
 * database of its own: more than half of what a request costs.
 *
 *   away ──a read──► connecting ──► open ──lost──► away
 *                        ▲           └──too slow──► resting
 *                        └──── a read, later ─────────┘
 *
 * It is nobody's only way: what it does not answer is asked over a connection of the pool. So is what comes
 * while an answer takes long: whoever waits for a lock holds nobody up.
 */
import { Client, DatabaseError, type ClientConfig, type QueryResult } from 'pg'
import { limits } from '#config/limits.ts'
import { codeOf } from './failure.ts'

interface Statement {
  readonly name: string | null
  readonly text: string
  readonly values: unknown[]
}

export class Lane {
  readonly #config: ClientConfig
  readonly #onLost: (error: Error) => void
  #client: Client | null = null
  #isConnecting = false
  #isGathering = false
  #isClosed = false
  /** Reads that wait for an answer, and since when the first of them is the first. */
  #waiting = 0
  #first_ms = 0
  #restsUntil_ms = 0

  constructor(config: ClientConfig, onLost: (error: Error) => void) {
    this.#config = { ...config, pipeline: true }
    this.#onLost = onLost
  }

  /** The answer to a read; null when there is none to be had here. Throws what the database says of it. */
  async read({ name, text, values }: Statement): Promise<QueryResult | null> {
    // Those without a name are too many to keep.
    if (name === null) return null
    const client = this.#client
    if (client === null) {
      this.#connect()
      return null
    }
    if (this.#isSlow()) return null
    if (this.#waiting === 0) this.#first_ms = performance.now()
    this.#gather(client)
    this.#waiting += 1
    try {
      return await client.query({ name, text, values })
    } catch (error) {
      if (isAnswer(error)) throw error
      // What was slow is asked for again by somebody before long.
      if (this.#isSlow()) this.#restsUntil_ms = performance.now() + limits.store_lane_ms_max
      this.#drop(client)
      return null
    } finally {
      this.#waiting -= 1
      this.#first_ms = performance.now()
    }
  }

  /** Ends when what was asked is answered. */
  async close(): Promise<void> {
    this.#isClosed = true
    const client = this.#client
    this.#client = null
    await client?.end()
  }

  #isSlow(): boolean {
    return this.#waiting > 0 && performance.now() - this.#first_ms > limits.store_lane_slow_ms_max
  }

  /** Holds back what is written until the turn of the event loop ends. */
  #gather({ connection }: Client): void {
    if (this.#isGathering) return
    this.#isGathering = true
    connection.stream.cork()
    setImmediate(() => {
      this.#isGathering = false
      connection.stream.uncork()
    })
  }

  #connect(): void {
    if (this.#isConnecting || this.#isClosed || performance.now() < this.#restsUntil_ms) return
    this.#isConnecting = true
    const client = new Client(this.#config)
    client.on('error', (error) => {
      this.#drop(client)
      this.#onLost(error)
    })
    client.connect().then(
      () => {
        this.#isConnecting = false
        if (this.#isClosed) void client.end()
        else this.#client = client
      },
      // Those who use the pool are told why.
      () => {
        this.#isConnecting = false
      },
    )
  }

  /** What still waits for it is told by its end. */
  #drop(client: Client): void {
    if (this.#client !== client) return
    this.#client = null
    client.end().catch(() => undefined)
  }
}

/** Whether the database has said this of the statement, and would again. */
const isAnswer = (error: unknown): boolean =>
  error instanceof DatabaseError &&
  error.severity !== 'FATAL' &&
  // Plans of before a migration, and statements that another one of this name did not prepare.
  !['0A000', '26000'].includes(codeOf(error) ?? '')
