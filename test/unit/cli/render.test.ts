import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import {
  colours,
  plain,
  sortKeys,
  toJson,
  toRotatedTable,
  toTable,
  toYaml,
} from '#actors/nexus/cli/render.ts'

const cell = (state: unknown): string => toTable(['state'], [{ state }]).split('\n')[2] ?? ''

test('JSON has its keys in alphabetical order at every depth, two spaces a level', () => {
  const value = { b: [{ z: 1, a: null }], a: 'x', c: {}, d: [] }
  const expected = JSON.stringify({ a: 'x', b: [{ a: null, z: 1 }], c: {}, d: [] }, null, 2)
  assert.equal(toJson(value, plain), expected)
})

test('coloured JSON is the same text when the colours are taken off', () => {
  const value = { s: 'quote " and \u0007', n: -1.5, t: true, u: null, l: [1, 'x'] }
  const coloured = toJson(value, colours)
  assert.notEqual(coloured, toJson(value, plain))
  assert.equal(stripVTControlCharacters(coloured), toJson(value, plain))
})

test('sorting leaves arrays in their order', () => {
  assert.deepEqual(sortKeys([3, { b: 1, a: 2 }, 1]), [3, { a: 2, b: 1 }, 1])
})

test('a table has the borders of psql, and its header even without rows', () => {
  const rows = [
    { name: 'alpha', size: 1 },
    { name: 'b', size: 100, extra: 'not asked for' },
  ]
  assert.equal(
    toTable(['name', 'size'], rows),
    [' name  | size', '-------+------', ' alpha | 1', ' b     | 100'].join('\n'),
  )
  assert.equal(toTable(['name', 'size'], []), [' name | size', '------+------'].join('\n'))
})

test('a view is a table on its side: known columns first, others after them, absent ones not', () => {
  const row = { zone: 'z', id: '1', name: 'n', alias: null }
  assert.equal(
    toRotatedTable(['name', 'id', 'gone'], row),
    [' name  | n', ' id    | 1', ' alias |', ' zone  | z'].join('\n'),
  )
})

test('a state reads as a word with what belongs to it', () => {
  assert.equal(cell({ state: 'detached' }), ' detached')
  assert.equal(cell({ state: 'attached', instance: 'i1' }), ' attached (instance i1)')
})

test('control characters in a cell cannot move the cursor', () => {
  const table = toTable(['name'], [{ name: 'a\nb\u001b[2J\u009b\u007f' }])
  assert.equal(table.split('\n')[2], String.raw` a\nb\u001b[2J\u009b\u007f`)
})

test('YAML quotes what a reader could take for something else than text', () => {
  const value = {
    plain: 'two words',
    yes: 'no',
    number: '10',
    empty: '',
    colon: 'a: b',
    list: [{ b: 1, a: [1, 2] }, 'x'],
    none: null,
    nothing: [],
    fields: {},
  }
  assert.equal(
    toYaml(value),
    `---
colon: "a: b"
empty: ""
fields: {}
list:
  - a:
      - 1
      - 2
    b: 1
  - x
none: null
nothing: []
number: "10"
plain: two words
"yes": "no"
`,
  )
})
