/**
 * The golden file of every protocol. What peers of different versions say to each other is settled in
 * these tables, so a change to one is never an accident: it shows here, as a diff, and needs a new
 * version of its protocol.
 *
 * To take a change up: raise the protocol's version, then run
 *
 *     node_modules/.bin/node test/tidy/contracts.test.ts --update
 *
 * which writes test/contracts.txt, and refuses what was changed without a new version.
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { AnyCall, Protocol } from '#runtime/protocol.ts'

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

/** One protocol as text: a line to name it, and four for each row, in the order of their numbers. */
function print(protocol: Protocol): string {
  const rows = Object.entries(protocol.messages).toSorted(([, a], [, b]) => a.op - b.op)
  return [
    `${protocol.name} version ${protocol.version}`,
    ...rows.flatMap(([name, row]) => printRow(name, row)),
  ].join('\n')
}

function printRow(name: string, row: AnyCall): readonly string[] {
  return [
    `  ${row.op} ${name} ${row.lane}${row.idempotent ? ' idempotent' : ''}`,
    `    request ${printSchema(row.request)}`,
    `    reply ${printSchema(row.reply)}`,
    `    errors ${row.errors.toSorted().join(' ')}`.trimEnd(),
  ]
}

/** JSON of a schema; a test in code, which JSON cannot show, is marked. */
function printSchema(schema: unknown): string {
  return JSON.stringify(schema, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && '~refine' in value
      ? { ...value, refined_in_code: true }
      : value,
  )
}

const versionOf = (text: string): string => text.split('\n', 1)[0] ?? ''
const nameOf = (text: string): string => text.split(' ', 1)[0] ?? ''
const opsOf = (text: string): ReadonlyMap<string, string> =>
  new Map([...text.matchAll(/^ {2}(\d+) (\S+)/gm)].map(([, op = '', name = '']) => [op, name]))

/** The protocols of the golden file by name. */
function readGolden(): ReadonlyMap<string, string> {
  if (!existsSync(golden)) return new Map()
  const sections = readFileSync(golden, 'utf8').trim().split('\n\n')
  return new Map(sections.filter((text) => text !== '').map((text) => [nameOf(text), text]))
}

/** Why a protocol may not be as it is now, given how it was; null when it may. */
function objection(before: string, now: string): string | null {
  if (before === now) return null
  const name = nameOf(now)
  if (versionOf(before) === versionOf(now)) {
    return `protocol ${name} changed without a new version: raise it, then run this file with --update`
  }
  const reused = [...opsOf(now)].find(
    ([op, message]) => (opsOf(before).get(op) ?? message) !== message,
  )
  if (reused === undefined) return null
  const [op, message] = reused
  return `protocol ${name}: ${op} was ${opsOf(before).get(op) ?? ''} and is now ${message}: numbers are never used again`
}

async function update(): Promise<void> {
  const before = readGolden()
  const now = (await protocols()).map(print)
  const objections = now.map((text) => objection(before.get(nameOf(text)) ?? '', text))
  const found = objections.filter((text) => text !== null)
  if (found.length > 0) {
    process.stderr.write(`${found.join('\n')}\n`)
    process.exitCode = 1
    return
  }
  writeFileSync(golden, `${now.join('\n\n')}\n`)
}

if (process.argv.includes('--update')) {
  await update()
} else {
  test('no protocol differs from the golden file', async () => {
    const before = readGolden()
    const now = await protocols()
    for (const protocol of now) {
      const text = print(protocol)
      const known = before.get(protocol.name) ?? ''
      assert.equal(objection(known, text), null)
      assert.equal(text, known, `run ${basename(import.meta.url)} with --update`)
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

  test('a changed protocol, and a number used for another message, are objected to', () => {
    const before = 'disk version 1\n  1 get normal\n    request null'
    const changed = 'disk version 1\n  1 get normal\n    request {}'
    assert.match(objection(before, changed) ?? '', /changed without a new version/)
    assert.equal(objection(before, changed.replace('version 1', 'version 2')), null)
    const reused = 'disk version 2\n  1 put normal\n    request null'
    assert.match(objection(before, reused) ?? '', /1 was get and is now put/)
    assert.equal(objection('', before), null)
  })
}
