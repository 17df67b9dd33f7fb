/** Frames by hand, for tests that say what no peer of ours would say. */
import { Type } from 'typebox'
import type { Codec } from '#runtime/codec/compile.ts'
import { codecOf } from '#runtime/codec/codec.ts'
import { cursorOver } from '#runtime/codec/cursor.ts'
import type { Protocol } from '#runtime/actor/protocol.ts'
import {
  bindCodec,
  emptyHeader,
  header_bytes,
  kinds,
  writeHeader,
  type Header,
} from '#runtime/wire/frame.ts'

const scratch = Buffer.alloc(8 * 1024 * 1024)

/** One frame: its header, and a payload written by a codec. */
export function frame(header: Partial<Header>, codec: Codec, value: unknown): Buffer {
  const cursor = cursorOver(scratch)
  cursor.at = header_bytes
  codec.write(cursor, value)
  writeHeader(cursor, 0, { ...emptyHeader(), ...header })
  return Buffer.from(cursor.buffer.subarray(0, cursor.at))
}

const greeting = codecOf(
  Type.Object({
    host: Type.String(),
    protocols: Type.Record(
      Type.String(),
      Type.Object({ version: Type.Integer(), fingerprint: Type.Integer() }),
    ),
  }),
)
/** The first frame of a link. */
export const helloFrame = (host: string, exported: readonly Protocol[] = []) =>
  frame({ kind: kinds.hello, sequence: 1 }, greeting, {
    host,
    protocols: Object.fromEntries(
      exported.map(({ name, version, fingerprint }) => [name, { version, fingerprint }]),
    ),
  })

/** Gives a number to an actor. */
export const bindFrame = (
  sequence: number,
  target: number,
  names: readonly [string, string, string],
) => frame({ kind: kinds.bind, sequence, target }, bindCodec, names)
