import assert from 'node:assert/strict'
import { test } from 'node:test'
import { header, rawField, typedField } from '#actors/nexus/cli/fields.ts'
import { ok } from '#runtime/result.ts'

const typed = (text: string): unknown => {
  const field = typedField(`key=${text}`)
  assert.ok(field.ok)
  return field.value.value
}

test('a raw field is text whatever it looks like', () => {
  assert.deepEqual(rawField('key=10'), ok({ key: 'key', value: { kind: 'value', value: '10' } }))
  const equals = rawField('key=a=b')
  assert.ok(equals.ok)
  assert.deepEqual(equals.value.value, { kind: 'value', value: 'a=b' })
})

test('a typed field is what it looks like', () => {
  const values: readonly (readonly [string, unknown])[] = [
    ['10', 10],
    ['-10', -10],
    ['1.5', 1.5],
    ['1e3', 1000],
    ['true', true],
    ['false', false],
    ['null', null],
    ['text', 'text'],
    ['', ''],
    ['007', '007'],
    ['0x10', '0x10'],
    ['Infinity', 'Infinity'],
    ['12345678901234567890', '12345678901234567890'],
  ]
  for (const [text, value] of values) assert.deepEqual(typed(text), { kind: 'value', value }, text)
})

test('a typed field may point to a file or to stdin', () => {
  assert.deepEqual(typed('@a/b.txt'), { kind: 'file', path: 'a/b.txt' })
  assert.deepEqual(typed('-'), { kind: 'stdin' })
  assert.deepEqual(typed('@-'), { kind: 'stdin' })
})

test('what has no name is refused', () => {
  for (const bad of ['key', '=value', '']) assert.equal(typedField(bad).ok, false, bad)
  for (const bad of ['Name', ':value']) assert.equal(header(bad).ok, false, bad)
})

test('a header is split at its first colon and trimmed', () => {
  assert.deepEqual(header('X-Time: 10:30'), ok(['X-Time', '10:30']))
})
