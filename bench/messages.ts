/** What is sent in all comparisons, on every side alike; `peers/luge_bench.erl` has the same. */
import { randomUUID } from 'node:crypto'

/** About 100 bytes on the wire. */
export interface Small {
  readonly kind: string
  readonly id: string
  readonly size: number
  readonly name: string
  readonly attempt: number
}
export interface Row {
  readonly id: string
  readonly name: string
  readonly state: string
  readonly ncpus: number
  readonly memory: number
  readonly ip: string
  readonly gen: number
}
/** About 4 KB of structure. */
export interface List {
  readonly kind: string
  readonly attempt: number
  readonly rows: readonly Row[]
}
/** 4 KB of bytes. */
export interface Blob {
  readonly kind: string
  readonly attempt: number
  readonly data: Uint8Array
}
interface Shapes {
  readonly small: Small
  readonly list: List
  readonly blob: Blob
}
export type Shape = keyof Shapes
export type Message<S extends Shape> = Shapes[S]

const rows = 28
const blob_bytes = 4096

const makers: { readonly [S in Shape]: (attempt: number) => Message<S> } = {
  small: (attempt) => ({
    kind: 'disk.create',
    id: randomUUID(),
    size: 1 << 30,
    name: 'mydisk',
    attempt,
  }),
  list: (attempt) => ({
    kind: 'instances',
    attempt,
    rows: Array.from({ length: rows }, (_, index) => ({
      id: randomUUID(),
      name: `instance-${index}`,
      state: 'running',
      ncpus: 1 + (index % 8),
      memory: (1 + index) * 1_073_741_824,
      ip: `172.30.0.${5 + index}`,
      gen: attempt + index,
    })),
  }),
  // Not a pooled Buffer: its whole pool would be cloned.
  blob: (attempt) => ({
    kind: 'read',
    attempt,
    data: new Uint8Array(blob_bytes).fill(attempt),
  }),
}

export const isShape = (text: string): text is Shape => Object.hasOwn(makers, text)

/** Different objects in turn: sending one object again and again makes cloning look cheap. */
const distinct = 1024

/** Gives a message of a shape each time it is called. */
export function messages<S extends Shape>(shape: S): () => Message<S> {
  const all = Array.from({ length: distinct }, (_, attempt) => makers[shape](attempt))
  let next = 0
  return () => {
    next = (next + 1) % distinct
    const message = all[next]
    if (message === undefined) throw new Error(`there is no message ${next}`)
    return message
  }
}
