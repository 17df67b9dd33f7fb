/**
 * What a protocol's table says, as text: the golden file of all protocols consists of it, and peers compare
 * a number made of it, so that two programs that call different tables the same version find out.
 */
import { layout } from '../codec/compile.ts'
import type { AnyCall, Protocol } from './protocol.ts'

/** A line to name it, one for its retired numbers, and four for each row, in the order of their numbers. */
export function describe({ name, version, retired, messages }: Contract): string {
  const rows = Object.entries(messages).toSorted(([, a], [, b]) => a.op - b.op)
  return [
    `${name} version ${version}`,
    ...(retired.length === 0 ? [] : [`  retired ${retired.toSorted((a, b) => a - b).join(' ')}`]),
    ...rows.map(([message, row]) => describeRow(message, row)),
  ].join('\n')
}
type Contract = Pick<Protocol, 'name' | 'version' | 'retired' | 'messages'>

function describeRow(name: string, row: AnyCall): string {
  return [
    `  ${row.op} ${name} ${row.lane}${row.idempotent ? ' idempotent' : ''} since ${row.since}`,
    `    request ${describeSchema(row.request)}`,
    `    reply ${describeSchema(row.reply)}`,
    `    errors ${row.errors.toSorted().join(' ')}`.trimEnd(),
  ].join('\n')
}

/** JSON of a schema; a test in code, which JSON cannot show, is marked. */
function describeSchema(schema: unknown): string {
  return JSON.stringify(schema, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && '~refine' in value
      ? { ...value, refined_in_code: true }
      : value,
  )
}

/** 32 bits of a table and how its messages lie on the wire (FNV-1a): what differs hardly ever has equal ones. */
export function fingerprint(contract: Contract): number {
  let hash = 0x811c_9dc5
  for (const byte of Buffer.from(`layout ${layout}\n${describe(contract)}`)) {
    hash = Math.imul(hash ^ byte, 0x0100_0193)
  }
  return hash >>> 0
}
