/**
 * The golden file of every protocol. What peers of different versions say to each other is settled in
 * these tables, so a change to one is never an accident: it shows here, as a diff. A row never changes;
 * what is new is a new row, there since a new version, and the number of a row that goes is retired.
 *
 * To take a change up: raise the protocol's version, then run
 *
 *     node_modules/.bin/node test/tidy/contracts.test.ts --update
 *
 * which writes test/contracts.txt, and refuses what breaks these rules (runtime/actor/protocol.ts).
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Type } from 'typebox'
import { describe } from '#runtime/actor/contract.ts'
import {
  call,
  nothing,
  protocol as table,
  type AnyCall,
  type Protocol,
} from '#runtime/actor/protocol.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const golden = `${root}test/contracts.txt`

/** Messages that may overtake others: those that end something. */
const stopLike = /^(close|remove|destroy|stop|cancel)$/

async function protocols(): Promise<readonly Protocol[]> {
  const files = globSync('{actors,runtime}/**/*.protocol.ts', { cwd: root }).toSorted()
  assert.ok(files.length > 0, 'no protocol was found: an empty pass is a failure')
  const found: Protocol[] = []
  for (const file of files) {
    const module = (await import(`${root}${file}`)) as Readonly<Record<string, unknown>>
    const tables = Object.values(module).filter(isProtocol)
    assert.equal(tables.length, 1, `${file} must export one protocol`)
    const name = basename(file, '.protocol.ts')
    assert.equal(tables[0]?.name, name, `${file} must export the protocol "${name}"`)
    found.push(...tables)
  }
  return found.toSorted((a, b) => a.name.localeCompare(b.name, 'en'))
}

function isProtocol(value: unknown): value is Protocol {
  return typeof value === 'object' && value !== null && 'messages' in value && 'version' in value
}

const nameOf = (text: string): string => text.split(' ', 1)[0] ?? ''
const versionOf = (text: string): number => Number(/ version (\d+)/.exec(text)?.[1] ?? 0)
const retiredOf = (text: string): readonly string[] =>
  /^ {2}retired (.*)$/m.exec(text)?.[1]?.split(' ') ?? []
/** The text of each row by its number. */
const rowsOf = (text: string): ReadonlyMap<string, string> =>
  new Map(
    [...text.matchAll(/^ {2}(\d+) .*(?:\n {4}.*)*/gm)].map(([row, op = '']): [string, string] => [
      op,
      row,
    ]),
  )

/** The protocols of the golden file by name. */
function readGolden(): ReadonlyMap<string, string> {
  if (!existsSync(golden)) return new Map()
  const sections = readFileSync(golden, 'utf8').trim().split('\n\n')
  return new Map(sections.filter((text) => text !== '').map((text) => [nameOf(text), text]))
}

/** Why a protocol may not be as it is now, given how it was; null when it may. */
function objection(before: string, now: string): string | null {
  if (before === now || before === '') return null
  const wrong = goneOrChanged(before, now) ?? newButOld(before, now)
  if (wrong !== null) return `protocol ${nameOf(now)}: ${wrong}`
  const [was, is] = [rowsOf(before), rowsOf(now)]
  const isSame = was.size === is.size && [...was.keys()].every((op) => is.has(op))
  const isRaised = versionOf(now) > versionOf(before)
  if (isRaised || (isSame && versionOf(now) === versionOf(before))) return null
  return `protocol ${nameOf(now)} changed without a new version: raise it, then run this file with --update`
}

function goneOrChanged(before: string, now: string): string | null {
  const is = rowsOf(now)
  const retired = retiredOf(now)
  for (const [op, row] of rowsOf(before)) {
    const stays = is.get(op)
    if (stays === undefined && !retired.includes(op)) {
      return `${op}: the row is gone, and its number is not among the retired`
    }
    if (stays !== undefined && stays !== row) {
      return `${op}: a row never changes: leave it, and add another one`
    }
  }
  const lost = retiredOf(before).find((op) => !retired.includes(op))
  return lost === undefined ? null : `${lost}: a number that was retired stays so`
}

function newButOld(before: string, now: string): string | null {
  const was = rowsOf(before)
  const since = `since ${versionOf(now)}`
  for (const [op, row] of rowsOf(now)) {
    if (!was.has(op) && row.split('\n', 1)[0]?.endsWith(since) !== true) {
      return `${op}: a new row says that it is there ${since}`
    }
  }
  return null
}

async function update(): Promise<void> {
  const before = readGolden()
  const now = (await protocols()).map(describe)
  const objections = now.map((text) => objection(before.get(nameOf(text)) ?? '', text))
  const found = objections.filter((text) => text !== null)
  if (found.length > 0) {
    process.stderr.write(`${found.join('\n')}\n`)
    process.exitCode = 1
    return
  }
  writeFileSync(golden, `${now.join('\n\n')}\n`)
}

const one = call(1, { request: nothing, reply: nothing, errors: [] })
const two = (since: number) => call(2, { request: nothing, reply: nothing, errors: [], since })
const text = (version: number, rows: Record<string, AnyCall>, retired: readonly number[] = []) =>
  describe(table('disk', version, rows, retired))

if (process.argv.includes('--update')) {
  await update()
} else {
  test('no protocol differs from the golden file', async () => {
    const before = readGolden()
    const now = await protocols()
    for (const protocol of now) {
      const said = describe(protocol)
      const known = before.get(protocol.name) ?? ''
      assert.equal(objection(known, said), null)
      assert.equal(said, known, `run ${basename(import.meta.url)} with --update`)
    }
    const names = now.map(({ name }) => name)
    assert.deepEqual([...before.keys()], names, 'a protocol of the golden file is gone')
  })

  test('every message can travel', async () => {
    for (const { rows } of await protocols()) {
      for (const row of rows.values()) {
        assert.equal(typeof row.request.read, 'function', `${row.protocol}.${row.name}`)
        assert.equal(typeof row.reply.read, 'function', `${row.protocol}.${row.name}`)
      }
    }
  })

  test('only messages that end something are urgent', async () => {
    for (const { name, messages } of await protocols()) {
      for (const [message, row] of Object.entries(messages)) {
        if (row.lane === 'urgent') assert.match(message, stopLike, `${name}.${message}`)
      }
    }
  })

  const before = text(1, { get: one })

  test('a table that says the same, or only raises its version, is fine', () => {
    assert.equal(objection(before, before), null)
    assert.equal(objection('', before), null)
    assert.equal(objection(before, text(2, { get: one })), null)
    assert.match(objection(text(2, { get: one }), before) ?? '', /without a new version/)
  })

  test('a changed row is objected to, also under a new version', () => {
    const changes: readonly AnyCall[] = [
      call(1, { request: nothing, reply: nothing, errors: ['lost'] }),
      call(1, { request: nothing, reply: nothing, errors: [], idempotent: true }),
      call(1, { request: nothing, reply: nothing, errors: [], lane: 'urgent' }),
      call(1, { request: nothing, reply: Type.Integer(), errors: [] }),
      call(1, { request: nothing, reply: nothing, errors: [], since: 2 }),
    ]
    for (const changed of changes) {
      assert.match(objection(before, text(2, { get: changed })) ?? '', /1: a row never changes/)
    }
    assert.match(objection(before, text(2, { read: one })) ?? '', /a row never changes/)
  })

  test('a new row needs a new version, and says so', () => {
    assert.equal(objection(before, text(2, { get: one, put: two(2) })), null)
    assert.match(objection(before, text(2, { get: one, put: two(1) })) ?? '', /since 2/)
    assert.match(objection(before, text(1, { get: one, put: two(1) })) ?? '', /new version/)
    assert.equal(objection(text(3, { get: one }), text(4, { get: one, put: two(4) })), null)
  })

  test('a row that goes is retired, for good, under a new version', () => {
    const both = text(2, { get: one, put: two(2) })
    assert.match(objection(both, text(3, { get: one })) ?? '', /not among the retired/)
    assert.match(objection(both, text(2, { get: one }, [2])) ?? '', /without a new version/)
    const retired = text(3, { get: one }, [2])
    assert.equal(objection(both, retired), null)
    assert.match(objection(retired, text(4, { get: one })) ?? '', /stays so/)
    assert.match(
      objection(retired, text(4, { get: one, put: two(4) })) ?? '',
      /2: a number that was retired stays so/,
    )
  })
}
