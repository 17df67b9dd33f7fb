/**
 * What a journal's log means: where each stream's snapshot and events are. Pure: the same lines, in
 * the same order, give the same index, whether they were read from a file or just written to it.
 *
 * A batch is what one commit wrote: lines of `type seq \t kind \t id \t document`, everything behind
 * `seq` in JSON, so that neither tab nor newline occurs in a field. A line that is dead (a later one
 * stands for it) is blanked by compaction and never moves, so a place is good for ever.
 */
/** `e` an event, `s` a snapshot (stands for all through its number), `r` the stream's removal. */
export type LineType = 'e' | 's' | 'r'
export interface Line {
  readonly type: LineType
  readonly seq: number
  /** Kind and id in JSON, as in the line. */
  readonly key: string
  /** The document in JSON; empty in a removal. */
  readonly json: string
}
/** Where a line is: `row * line_base + line`, one number, because there is one for every event. */
export type Place = number
const line_base = 1024

export interface Stream {
  readonly key: string
  snapshot: Place | null
  /** The snapshot stands for all events through this; 0 when it stands for none. */
  through: number
  /** The number of `events[0]`, or of the next event when there is none. */
  first: number
  readonly events: Place[]
}
interface Batch {
  readonly bytes_per_line: number
  /** Lines that are not blank, and those of them that still mean something. */
  present: number
  live: number
  is_dirty: boolean
}

export const rowOf = (place: Place): number => Math.floor(place / line_base)
export const lineOf = (place: Place): number => place % line_base
const placeOf = (row: number, line: number): Place => row * line_base + line

export const keyOf = (kind: string, id: string): string =>
  `${JSON.stringify(kind)}\t${JSON.stringify(id)}`
export const lastOf = (stream: Stream): number => stream.first + stream.events.length - 1
export const writeLine = ({ type, seq, key, json }: Line): string =>
  `${type}${seq}\t${key}\t${json}`

/** Reads a line; null when it is none. */
export function readLine(text: string): Line | null {
  const kind = text.indexOf('\t') + 1
  const id = text.indexOf('\t', kind) + 1
  const document = text.indexOf('\t', id) + 1
  const type = text[0]
  const seq = Number(text.slice(1, kind - 1))
  if (kind < 3 || id === 0 || document === 0 || !Number.isSafeInteger(seq) || seq < 0) return null
  if (type !== 'e' && type !== 's' && type !== 'r') return null
  return { type, seq, key: text.slice(kind, document - 1), json: text.slice(document) }
}

export class Index {
  readonly streams = new Map<string, Stream>()
  readonly #batches = new Map<number, Batch>()
  /**
   * Batches with dead lines that are not blanked yet, oldest first. They are blanked in this order,
   * so what is missing in front of a stream's events is always covered by something behind them.
   */
  readonly #dirty: number[] = []
  /** Removals: each must stay while an older line of its stream may still be in the file. */
  readonly #removals = new Set<Place>()
  last_row = 0
  live_bytes = 0
  dead_bytes = 0

  /**
   * Takes in a batch that is newer than all before. Gives back what does not fit: lines that cannot
   * be read, and events whose predecessor is missing; both count as dead.
   */
  add(row: number, body: string): readonly string[] {
    const lines = body.split('\n')
    const bytes_per_line = body.length / lines.length
    const present = lines.filter((text) => text !== '').length
    this.#batches.set(row, { bytes_per_line, present, live: present, is_dirty: false })
    this.live_bytes += bytes_per_line * present
    const before = this.last_row
    this.last_row = row
    if (this.isDead(before)) this.#soil(before)
    const complaints: string[] = []
    for (const [at, text] of lines.entries()) {
      const complaint = text === '' ? null : this.#apply(placeOf(row, at), readLine(text))
      if (complaint === null) continue
      this.#kill(placeOf(row, at))
      complaints.push(complaint)
    }
    return complaints
  }

  /** Streams whose first events are in no batch and no snapshot, as sentences by key. */
  gaps(): ReadonlyMap<string, string> {
    const found = new Map<string, string>()
    for (const { key, through, first } of this.streams.values()) {
      if (first <= through + 1) continue
      found.set(key, `stream ${key}: events ${through + 1} to ${first - 1} are missing`)
    }
    return found
  }

  /** Batches through `until` that hold dead lines, oldest first: about `bytes_max`, at least one. */
  dirty(until: number, bytes_max: number): readonly number[] {
    let bytes = 0
    const end = this.#dirty.findIndex((row) => {
      const isEnough = row > until || bytes >= bytes_max
      const batch = this.#batches.get(row)
      bytes += batch === undefined ? 0 : batch.bytes_per_line * batch.present
      return isEnough
    })
    return this.#dirty.slice(0, end === -1 ? this.#dirty.length : end)
  }

  /** Whether a batch means nothing any more; the newest stays, as the witness of the last commit. */
  isDead(row: number): boolean {
    return row !== this.last_row && this.#batches.get(row)?.live === 0
  }

  /** A batch with its dead lines blanked. */
  blanked(row: number, body: string): string {
    const lines = body.split('\n')
    return lines.map((text, at) => (this.#isLive(placeOf(row, at), text) ? text : '')).join('\n')
  }

  /** The batch in the file has no dead lines any more, or is gone. */
  cleaned(row: number): void {
    const batch = this.#batches.get(row)
    if (batch === undefined) return
    const at = this.#dirty.indexOf(row)
    if (at !== -1) this.#dirty.splice(at, 1)
    batch.is_dirty = false
    this.dead_bytes -= batch.bytes_per_line * (batch.present - batch.live)
    batch.present = batch.live
    if (batch.live === 0 && row !== this.last_row) this.#batches.delete(row)
  }

  /**
   * Removals that no dead line is older than are not needed any more. Whether that made new dead
   * lines in batches through `until`.
   */
  forgetRemovals(until: number): boolean {
    const [oldest = Infinity] = this.#dirty
    const needless = [...this.#removals].filter(
      (place) => rowOf(place) <= until && rowOf(place) < oldest,
    )
    for (const place of needless) {
      this.#removals.delete(place)
      this.#kill(place)
    }
    return needless.length > 0
  }

  #apply(place: Place, line: Line | null): string | null {
    if (line === null) return 'a line cannot be read'
    const stream = this.streams.get(line.key)
    if (line.type === 'e') return this.#event(place, line, stream)
    if (line.type === 'r') {
      if (stream !== undefined) {
        this.#cover(stream, lastOf(stream))
        if (stream.snapshot !== null) this.#kill(stream.snapshot)
        this.streams.delete(line.key)
      }
      this.#removals.add(place)
      return null
    }
    if (stream === undefined) {
      this.#make(line.key, line.seq + 1, { snapshot: place, through: line.seq })
      return null
    }
    if (stream.snapshot !== null) this.#kill(stream.snapshot)
    stream.snapshot = place
    stream.through = line.seq
    this.#cover(stream, line.seq)
    return null
  }

  #event(place: Place, { key, seq }: Line, stream: Stream | undefined): string | null {
    const { events, ...at } = stream ?? this.#make(key, seq, { snapshot: null, through: 0 })
    const next = at.first + events.length
    if (seq !== next) return `stream ${key}: event ${seq} follows event ${next - 1}`
    events.push(place)
    return null
  }

  #make(key: string, first: number, rest: Pick<Stream, 'snapshot' | 'through'>): Stream {
    const stream = { key, first, events: [], ...rest }
    this.streams.set(key, stream)
    return stream
  }

  /** Events through `seq` are dead. */
  #cover(stream: Stream, seq: number): void {
    const count = Math.min(Math.max(seq - stream.first + 1, 0), stream.events.length)
    for (const place of stream.events.splice(0, count)) this.#kill(place)
    stream.first =
      stream.events.length === 0 ? Math.max(seq + 1, stream.first) : stream.first + count
  }

  #isLive(place: Place, text: string): boolean {
    const line = text === '' ? null : readLine(text)
    if (line === null) return false
    if (line.type === 'r') return this.#removals.has(place)
    const stream = this.streams.get(line.key)
    if (line.type === 's') return stream?.snapshot === place
    return stream?.events[line.seq - stream.first] === place
  }

  #kill(place: Place): void {
    const row = rowOf(place)
    const batch = this.#batches.get(row)
    if (batch === undefined) return
    batch.live -= 1
    this.live_bytes -= batch.bytes_per_line
    this.dead_bytes += batch.bytes_per_line
    this.#soil(row)
  }

  #soil(row: number): void {
    const batch = this.#batches.get(row)
    if (batch === undefined || batch.is_dirty) return
    batch.is_dirty = true
    let low = 0
    for (let high = this.#dirty.length; low < high;) {
      const middle = (low + high) >> 1
      if ((this.#dirty[middle] ?? 0) < row) low = middle + 1
      else high = middle
    }
    this.#dirty.splice(low, 0, row)
  }
}
