import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noKeys, type } from '#actors/nexus/cli/escape.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const text = (sent: Uint8Array): string => Buffer.from(sent).toString('latin1')

test('ordinary keys reach the guest as they are', () => {
  const typed = type(noKeys, bytes('root\r\u001b[A\u00ff'))
  assert.equal(text(typed.send), 'root\r\u001b[A\u00ff')
  assert.equal(typed.quit, false)
})

test('Ctrl-C ends the session after what was typed before it, and drops the rest', () => {
  const typed = type(noKeys, bytes('ls\r\u0003rm'))
  assert.equal(text(typed.send), 'ls\r')
  assert.equal(typed.quit, true)
})

test('Ctrl-A takes the meaning off the next key', () => {
  assert.equal(text(type(noKeys, bytes('\u0001\u0003')).send), '\u0003')
  assert.equal(text(type(noKeys, bytes('\u0001\u0001')).send), '\u0001')
  assert.equal(text(type(noKeys, bytes('a\u0001xb')).send), 'axb')
  assert.equal(type(noKeys, bytes('\u0001\u0003')).quit, false)
})

test('Ctrl-A is remembered from one read to the next', () => {
  const first = type(noKeys, bytes('a\u0001'))
  assert.equal(text(first.send), 'a')
  const second = type(first.keys, bytes('\u0003'))
  assert.equal(text(second.send), '\u0003')
  assert.equal(second.quit, false)
  assert.equal(type(second.keys, bytes('\u0003')).quit, true)
})

test('cutting the input anywhere changes nothing', () => {
  const keys = bytes('a\u0001\u0001\u0001\u0003b\u0001c\u0003d')
  const whole = type(noKeys, keys)
  for (let cut = 0; cut <= keys.length; cut += 1) {
    const first = type(noKeys, keys.subarray(0, cut))
    const rest = first.quit ? null : type(first.keys, keys.subarray(cut))
    assert.equal(text(first.send) + (rest === null ? '' : text(rest.send)), text(whole.send))
    assert.equal(rest === null ? first.quit : rest.quit, whole.quit)
  }
})
