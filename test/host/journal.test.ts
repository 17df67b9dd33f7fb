/** The journal on a disk that is really full, and the command that an error names. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { journal as actor } from '#actors/journal.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'
import { systemClock } from '#runtime/clock.ts'
import { Journal } from '#runtime/journal/journal.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { repository } from '#test/kit/rack.ts'

const soon = { timeout_ms: 10_000 }

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}

async function onSmallDisk(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'luge-full-'))
  run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'luge-test', directory)
  try {
    await use(directory)
  } finally {
    run('umount', directory)
    rmSync(directory, { recursive: true })
  }
}

/** Takes all space that is left. */
function fill(path: string): void {
  const ballast = spawnSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=4k'], { encoding: 'utf8' })
  assert.match(ballast.stderr, /No space left/)
}

function serve(journal: Journal): System {
  const system = new System({
    host: 'here',
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog([]),
    routes: {},
    toThread: () => null,
    toHost: () => null,
  })
  system.add(actor, { journal }, 'sled')
  return system
}

test('a full disk refuses exactly what is not durable, nobody crashes, and it goes on with space', async () => {
  await onSmallDisk(async (directory) => {
    const path = join(directory, 'journal.sqlite')
    const ballast = join(directory, 'ballast')
    const journal = new Journal(path)
    const system = serve(journal)
    const ref = system.ref(journalProtocol, 'sled')
    const kept: string[] = []
    let refused = 0
    const tick = async (round: number) => {
      await Promise.all(
        ['a', 'b', 'c'].map(async (name) => {
          const id = `${round}${name}`
          const entry = { kind: 'k', id, document: 'x'.repeat(2_000) }
          const put = await ref.call('put', entry, soon)
          if (put.ok) {
            kept.push(id)
            return
          }
          assert.equal(put.error, 'os_failed')
          assert.match(put.detail, /journal\.sqlite was not written: .*full|disk I\/O error/)
          refused += 1
        }),
      )
    }
    const isRight = () => {
      const listed = journal.list('k').map(({ id }) => id)
      assert.deepEqual(listed, kept.toSorted())
    }
    for (let round = 0; round < 5; round += 1) await tick(round)
    assert.equal(refused, 0)
    fill(ballast)
    for (let round = 5; round < 100; round += 1) await tick(round)
    assert.ok(refused > 100, `${refused} writes were refused`)
    isRight()
    const before = kept.length
    rmSync(ballast)
    for (let round = 100; round < 120; round += 1) await tick(round)
    assert.equal(kept.length, before + 60)
    isRight()
    assert.deepEqual(
      system.inspect().map(({ restarts }) => restarts),
      [0],
    )
    await system.stop()
    journal.close()
    const again = new Journal(path)
    assert.deepEqual(
      again.list('k').map(({ id }) => id),
      kept.toSorted(),
    )
    again.close()
  })
})

test('a full disk names the file that cannot be made, and leaves none', async () => {
  await onSmallDisk(async (directory) => {
    fill(join(directory, 'ballast'))
    assert.throws(() => new Journal(join(directory, 'new.sqlite')), /new\.sqlite.*see to the disk/)
    rmSync(join(directory, 'ballast'))
    new Journal(join(directory, 'new.sqlite')).close()
  })
})

test('luge journal check names what is wrong, recover makes it right, and SQLite agrees', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'luge-recover-'))
  const path = join(directory, 'journal.sqlite')
  const luge = (verb: string) => {
    const args = [join(repository, 'runtime/bin/luge.ts'), 'journal', verb, path]
    return spawnSync(process.execPath, args, { encoding: 'utf8' })
  }
  try {
    const journal = new Journal(path)
    for (let at = 0; at < 200; at += 1) {
      await journal.put({ kind: 'disk', id: String(at), document: 'x'.repeat(500) })
    }
    journal.close()
    assert.match(luge('check').stdout, /is sound: 200 streams, 200 commits/)
    truncateSync(path, 10 * 4096)
    const checked = luge('check')
    assert.equal(checked.status, 1)
    assert.match(checked.stderr, /journal\.sqlite cannot be used: .*luge journal recover/)
    assert.equal(luge('check').status, 1, 'looking changes nothing')
    const recovered = luge('recover')
    assert.equal(recovered.status, 0, recovered.stderr)
    assert.match(recovered.stdout, /kept: \d+ streams[^]*lost: [^]*the old file is .*damaged-1/)
    assert.match(luge('check').stdout, /is sound/)
    assert.equal(run('python3', '-c', integrity, path).trim(), 'ok')
    writeFileSync(path, 'no database')
    assert.equal(luge('recover').status, 0)
    assert.match(luge('check').stdout, /is sound: 0 streams/)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

const integrity = `
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])`
