/** One schema of every kind that messages can carry, and a protocol that echoes each. */
import { Type, type TSchema } from 'typebox'
import { binary, cidr, uuid } from '#actors/schema.ts'
import { behaviour, type Behaviour } from '#runtime/actor/actor.ts'
import { call, protocol, type AnyCall, type Protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'

const point = Type.Object({ x: Type.Number(), y: Type.Integer({ minimum: -5, maximum: 1_000 }) })
const shape = Type.Union([
  Type.Object({ type: Type.Literal('dot'), at: point }),
  Type.Object({ type: Type.Literal('line'), from: point, to: point }),
  Type.Object({ type: Type.Literal('label'), text: Type.String({ minLength: 1, maxLength: 20 }) }),
])

export const schemas: Readonly<Record<string, TSchema>> = {
  nothing: Type.Null(),
  literal: Type.Literal('only'),
  boolean: Type.Boolean(),
  integer: Type.Integer(),
  small: Type.Integer({ minimum: 0, maximum: 255 }),
  number: Type.Number(),
  text: Type.String(),
  word: Type.String({ minLength: 2, maxLength: 8 }),
  uuid,
  cidr,
  choice: Type.Enum(['red', 'green', 'blue']),
  nullable: Type.Union([Type.String(), Type.Null()]),
  either: Type.Union([Type.Integer(), Type.String(), Type.Array(Type.Boolean())]),
  shape,
  list: Type.Array(Type.Integer()),
  pair: Type.Array(Type.String({ maxLength: 3 }), { minItems: 2, maxItems: 4 }),
  empties: Type.Array(Type.Object({})),
  tuple: Type.Tuple([Type.String(), Type.Boolean(), Type.Null()]),
  record: Type.Record(Type.String(), point),
  binary,
  anything: Type.Unknown(),
  deep: Type.Object({
    id: uuid,
    tags: Type.Record(Type.String(), Type.Array(shape)),
    notes: Type.Union([Type.Array(Type.Tuple([Type.Number(), Type.String()])), Type.Null()]),
    data: binary,
  }),
  rows: Type.Array(
    Type.Object({
      name: Type.String({ maxLength: 63 }),
      note: Type.Union([Type.String(), Type.Null()]),
      tags: Type.Array(Type.String()),
      label: shape,
    }),
  ),
}

const id = '12345678-1234-1234-1234-123456789abc'
/** A value for each schema. */
export const examples: Readonly<Record<string, unknown>> = {
  nothing: null,
  literal: 'only',
  boolean: true,
  integer: -70_000,
  small: 200,
  number: 1.5,
  text: 'grüße',
  word: 'word',
  uuid: id,
  cidr: 'fd00::/8',
  choice: 'blue',
  nullable: null,
  either: [true, false],
  shape: { type: 'line', from: { x: 0.5, y: 1 }, to: { x: -1, y: 999 } },
  list: [1, -1, 300, 70_000, 2 ** 40],
  pair: ['a', 'bc'],
  empties: [{}, {}],
  tuple: ['a', true, null],
  record: { a: { x: 1, y: 2 }, toString: { x: 3, y: 4 } },
  binary: new Uint8Array([1, 2, 3]),
  anything: { a: [1, 'x', null], b: { c: true } },
  deep: {
    id,
    tags: { a: [{ type: 'dot', at: { x: 0, y: 0 } }] },
    notes: [[1.5, 'x']],
    data: new Uint8Array(40),
  },
  rows: ['a', 'a', 'ü'].map((name) => ({
    name,
    note: 'as ever',
    tags: ['x', 'x', '💥'],
    label: { type: 'label', text: 'here' },
  })),
}

const rows = Object.fromEntries(
  Object.entries(schemas).map(([name, schema], index): [string, AnyCall] => [
    name,
    call(index + 1, { request: schema, reply: schema, errors: [] }),
  ]),
)
export const echoProtocol: Protocol = protocol('echo', 1, rows)

type Echo = Behaviour<Protocol, null, null>
/** Answers every message with its request. */
export const echo: Echo = behaviour<Protocol, null, null>({
  protocol: echoProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 1_000,
    shutdown_ms: 50,
    mailbox_max: 16,
    thread: 'main',
    activation: 'by_id',
  },
  init: () => null,
  invariant: () => undefined,
  handlers: Object.fromEntries(
    Object.keys(schemas).map((name) => [
      name,
      (_context: unknown, state: null, request: unknown) => ({ state, result: ok(request) }),
    ]),
  ) as Echo['handlers'],
})
