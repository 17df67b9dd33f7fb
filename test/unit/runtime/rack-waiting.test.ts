/** Whoever waits for a rack is told what stands in its way, not where else it may be written. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { troubleOf } from '#runtime/bin/rack/last_words.ts'
import { tellWhile } from '#runtime/bin/rack/served.ts'
import { waitReady, type SupervisorNews } from '#runtime/bin/rack/supervisor.ts'
import { scratch } from '#test/kit/certificates.ts'

/** What is said of a supervisor that tells this and never serves. */
async function waitedFor(sled: string, news: readonly SupervisorNews[]): Promise<string> {
  const script = `process.on('message', () => {
      for (const one of ${JSON.stringify(news)}) process.send(one)
    })
    process.on('disconnect', () => process.exit())
    process.send('it is there')`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 2, 2, 'ipc'] })
  await once(child, 'message')
  const waiting = waitReady(child, sled, { timeout_ms: 1_000, ofNexus: () => 'its store is away' })
  child.send('tell')
  const waited = await waiting
  assert.ok(!waited.ok)
  return waited.detail
}

test('a sled that misses nothing but Nexus says what Nexus waits for', async () => {
  const sled = scratch()
  const begun = 'the sled did not serve within 1 s: '
  assert.equal(await waitedFor(sled, []), `${begun}see ${join(sled, 'supervisor.log')}`)
  const trouble = { kind: 'trouble', text: 'zone oxz_nexus: it will not start' } as const
  assert.equal(await waitedFor(sled, [trouble]), `${begun}${trouble.text}`)
  assert.equal(
    await waitedFor(sled, [trouble, { kind: 'alone' }]),
    `${begun}it waits for Nexus: its store is away`,
  )
})

test('who waits long is told why, and again when it is something else', async () => {
  const reasons = ['a', 'a', 'b', 'b', 'a']
  const said: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const why = () => {
    const [reason = 'c'] = reasons.splice(0, 1)
    if (reason === 'c') resolve()
    return reason
  }
  const end = tellWhile(why, (line) => said.push(line), 1)
  await promise
  await sleep(5)
  end()
  const told = ['a', 'b', 'a', 'c'].map((reason) => `luge: still waiting: ${reason}\n`)
  assert.deepEqual(said, told)
})

test('the last line of the log of Nexus says why, if it is a trouble', () => {
  const state = scratch()
  const log = join(state, 'nexus2', 'nexus.log')
  assert.equal(troubleOf(state, 2), `see ${log}`)
  mkdirSync(join(state, 'nexus2'))
  const store = 'postgres://luge@db.example/luge'
  const [waits, lives, fails] = [
    { level: 40, msg: 'the store is waited for', store, why: 'connect ECONNREFUSED' },
    { level: 30, msg: 'nexus serves', external: [] },
    { level: 50, msg: 'nexus cannot start', why: `store ${store} cannot be used` },
  ].map((line) => JSON.stringify(line))
  for (const [lines, said] of [
    [[lives, waits], `the store is waited for: ${store}: connect ECONNREFUSED`],
    [[waits, fails], `nexus cannot start: store ${store} cannot be used`],
    [[waits, lives], `see ${log}`],
    [[waits, 'Segmentation fault'], `see ${log}`],
    [['x'.repeat(1_000_000), waits], `the store is waited for: ${store}: connect ECONNREFUSED`],
  ] as const) {
    writeFileSync(log, `${lines.join('\n')}\n`)
    assert.equal(troubleOf(state, 2), said)
  }
})
