/** A rack killed with -9 at any moment of coming up: the next up goes on, and down leaves nothing. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemRandom } from '#runtime/random.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { identify } from '#native/process.ts'
import { attempt, freePort, leftovers, repository, until } from '#test/kit/rack.ts'

const luge = join(repository, 'tools/luge')

/** Kills the command and the supervisor that it may have started, as a power cut would. */
function killAll(command: number, state: string): void {
  try {
    process.kill(command, 'SIGKILL')
  } catch {
    // It had ended by itself.
  }
  const file = join(state, 'sled1/supervisor.json')
  if (!existsSync(file)) return
  const { pid } = JSON.parse(readFileSync(file, 'utf8')) as { pid: number }
  if (identify(pid) !== null) process.kill(pid, 'SIGKILL')
}

/** What the rack's processes said last, for whoever asks why it did not come up. */
const logsOf = (state: string): string =>
  ['nexus/nexus.log', 'sled1/supervisor.log']
    .map((name) => {
      const path = join(state, name)
      return `${name}:\n${existsSync(path) ? readFileSync(path, 'utf8').slice(-4_000) : 'none'}`
    })
    .join('\n')

/** Every four tenths of a second, from another one in each run. */
const first = 2 + Math.floor(systemRandom.next() * 4)

test(`killed on the way up, from ${first} tenths of a second on, then down, or up and down`, async () => {
  const parent = mkdtempSync(join(tmpdir(), 'luge-crash-'))
  const state = join(parent, 'rack')
  const outside = `lugecrash${process.pid}`
  const port = await freePort()
  const words = ['rack', 'up', '--detach', '--json', '--platform', 'linux', '--state', state]
  words.push('--external', `127.0.0.1:${port}`, '--outside', `/run/netns/${outside}`)
  assert.equal(attempt('ip', ['netns', 'add', outside]).status, 0)
  try {
    for (let tenth = first; tenth <= 22; tenth += 4) {
      const child = spawn(luge, words, { stdio: 'ignore' })
      const { pid } = child
      assert.ok(pid !== undefined)
      // The moment is the point of the test; nothing is waited for.
      await sleep(tenth * 100)
      killAll(pid, state)
      const plan = join(state, 'rack.json')
      const tag = existsSync(plan)
        ? (JSON.parse(readFileSync(plan, 'utf8')) as { tag: string }).tag
        : 'none'
      if ((tenth - first) % 8 === 0) {
        const again = attempt(luge, words)
        const said = again.status === 0 ? '' : `${again.stderr}\n${logsOf(state)}`
        assert.equal(again.status, 0, `up again after ${tenth * 100} ms: ${said}`)
      }
      const down = attempt(luge, ['rack', 'down', '--state', state])
      assert.equal(down.status, 0, `down after ${tenth * 100} ms: ${down.stderr}`)
      assert.deepEqual(leftovers(tag, state), [], `after ${tenth * 100} ms`)
    }
  } finally {
    attempt(luge, ['rack', 'down', '--state', state])
    attempt('ip', ['netns', 'del', outside])
    rmSync(parent, { recursive: true, force: true })
  }
})

test('a supervisor whose starter is gone before it began ends, and claims nothing', async () => {
  const state = mkdtempSync(join(tmpdir(), 'luge-crash-'))
  const sled = join(state, 'sled1')
  const port = await freePort()
  const up = ['rack', 'up', '--detach', '--platform', 'sim', '--state', state]
  try {
    const began = attempt(luge, [...up, '--external', `127.0.0.1:${port}`])
    assert.equal(began.status, 0, began.stderr)
    const claim = join(sled, 'supervisor.json')
    const { pid } = JSON.parse(readFileSync(claim, 'utf8')) as { pid: number }
    process.kill(pid, 'SIGKILL')
    await until('it is gone', 5_000, () => (identify(pid) === null ? true : null))
    const before = readFileSync(claim, 'utf8')
    const log = join(state, 'orphan.log')
    const starter = `
      const { spawn } = require('node:child_process')
      const log = require('node:fs').openSync(${JSON.stringify(log)}, 'a')
      const program = ${JSON.stringify([join(repository, 'runtime/bin/sled.ts'), join(sled, 'sled.json')])}
      const child = spawn(process.execPath, program, { detached: true, stdio: ['ignore', log, log, 'ipc'] })
      process.stdout.write(String(child.pid), () => process.kill(process.pid, 'SIGKILL'))`
    const orphan = Number(attempt(process.execPath, ['-e', starter]).stdout)
    assert.ok(orphan > 0)
    await until('it has ended', 20_000, () => (identify(orphan) === null ? true : null))
    assert.match(readFileSync(log, 'utf8'), /has ended before it began/)
    assert.equal(readFileSync(claim, 'utf8'), before)
  } finally {
    attempt(luge, ['rack', 'down', '--state', state])
    rmSync(state, { recursive: true, force: true })
  }
})
