/** What a process of the rack wrote last: why it does not serve yet, for whoever waits for it. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { Type } from 'typebox'
import { explain } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { membersOf } from './configs.ts'
import { nexusFiles, nexusState } from './layout.ts'
import type { RackPlan } from './plan.ts'

const tail_bytes_max = 65_536
const logged = Type.Object({
  level: Type.Integer(),
  msg: Type.String(),
  store: Type.Optional(Type.String()),
  why: Type.Optional(Type.String()),
})
const level_warn = 40

/** What stands in the way of each member of Nexus, as the last line of its log says; else where that is. */
export function troublesOfNexus(state: string, plan: RackPlan): string {
  const troubles = membersOf(plan).map(({ number }) => troubleOf(state, number))
  return troubles.join('; ')
}

/** The same of the k-th member. */
export function troubleOf(state: string, number: number): string {
  const { log } = nexusFiles(nexusState(state, number))
  const line = existsSync(log) ? parsed(lastLine(log)) : null
  if (!fits(logged, line) || line.level < level_warn) return `see ${log}`
  const said = [line.msg, line.store, line.why].filter((part) => part !== undefined)
  return said.join(': ')
}

/** The last line of a log, however long that is. */
export function lastLine(path: string): string {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const tail = Buffer.alloc(Math.min(size, tail_bytes_max))
    const read = readSync(file, tail, 0, tail.length, size - tail.length)
    return tail.toString('utf8', 0, read).trimEnd().split('\n').at(-1) ?? ''
  } finally {
    closeSync(file)
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    return explain(error)
  }
}
