/** What an operator reads when a machine cannot do what was asked, and that nothing is left of it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { attempt, freePort, repository, TestRack } from '#test/kit/rack.ts'

const luge = join(repository, 'runtime/bin/luge.ts')
interface How {
  readonly env?: NodeJS.ProcessEnv
  readonly uid?: number
}

function rackUp(state: string, words: readonly string[], how: How = {}) {
  const args = ['rack', 'up', '--detach', '--json', '--state', state, ...words]
  const ran = spawnSync(process.execPath, [luge, ...args], {
    encoding: 'utf8',
    timeout: 120_000,
    env: how.env ?? process.env,
    ...(how.uid === undefined ? {} : { uid: how.uid, gid: how.uid }),
  })
  return { code: ran.status, said: ran.stderr }
}

function inState(use: (state: string) => void): void {
  const parent = mkdtempSync(join(tmpdir(), 'luge-refused-'))
  const state = join(parent, 'state')
  try {
    use(state)
    assert.deepEqual(readdirSync(parent), [], 'a refused rack leaves no file')
  } finally {
    attempt(join(repository, 'tools/luge'), ['rack', 'down', '--state', state])
    rmSync(parent, { recursive: true, force: true })
  }
}

test('a port that another program has is named, on linux and on sim', async () => {
  const port = await freePort()
  const server = createServer()
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(port, '127.0.0.1', () => {
    resolve()
  })
  await promise
  try {
    for (const platform of ['sim', 'linux']) {
      const outside = `lugerefused${process.pid}`
      assert.equal(attempt('ip', ['netns', 'add', outside]).status, 0)
      try {
        inState((state) => {
          const words = ['--platform', platform, '--external', `127.0.0.1:${port}`]
          const { code, said } = rackUp(state, [...words, '--outside', `/run/netns/${outside}`])
          assert.equal(code, 1)
          assert.match(said, new RegExp(`127\\.0\\.0\\.1 port ${port}.*--external`))
        })
      } finally {
        attempt('ip', ['netns', 'del', outside])
      }
    }
  } finally {
    server.close()
  }
  assert.equal(attempt('ip', ['netns', 'list']).stdout.includes('_gz'), false)
})

test('a gateway address that is taken outside is named, and nothing is left', async () => {
  const outside = `lugerefused${process.pid}`
  const port = await freePort()
  assert.equal(attempt('ip', ['netns', 'add', outside]).status, 0)
  const ip = (...args: readonly string[]) => attempt('ip', ['-n', outside, ...args])
  try {
    assert.equal(ip('link', 'add', 'other', 'type', 'bridge').status, 0)
    ip('addr', 'add', '172.20.15.230/24', 'dev', 'other')
    ip('link', 'set', 'other', 'up')
    inState((state) => {
      const words = ['--platform', 'linux', '--external', `127.0.0.1:${port}`]
      const { code, said } = rackUp(state, [...words, '--outside', `/run/netns/${outside}`])
      assert.equal(code, 1)
      assert.match(said, /172\.20\.15\./)
    })
    assert.match(ip('addr').stdout, /172\.20\.15\.230\/24/, 'what was there is untouched')
  } finally {
    attempt('ip', ['netns', 'del', outside])
  }
})

test('without root, or without the tools, linux is refused with what to do, and auto takes sim', () => {
  inState((state) => {
    const { code, said } = rackUp(state, ['--platform', 'linux'], { env: { PATH: '/nonexistent' } })
    assert.equal(code, 1)
    assert.match(said, /qemu-system-x86_64.* missing: run tools\/install_prerequisites\.sh/)
  })
  const program = `import { choosePlatform } from '${join(repository, 'native/select.ts')}'
    console.log(JSON.stringify([choosePlatform('linux'), choosePlatform('auto')]))`
  const ran = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', program], {
    encoding: 'utf8',
    cwd: repository,
    env: { PATH: '/nonexistent' },
  })
  const [linux, auto] = JSON.parse(ran.stdout) as readonly [
    { ok: boolean; detail: string },
    { ok: boolean; value: { platform: string; reason: string } },
  ]
  assert.equal(linux.ok, false)
  assert.equal(auto.value.platform, 'sim')
  assert.match(auto.value.reason, /no real guests here: .*missing/)
})

test('nonsense on the command line is one sentence and exit code 1', () => {
  inState((state) => {
    for (const [words, sentence] of [
      [['--platform', 'solaris'], /Allowed choices are/],
      [['--external', 'localhost'], /--external localhost: expected ADDRESS:PORT/],
      [['--platform', 'illumos'], /illumos: its backend is not part of this version/],
      [['--config', '/no/such/file'], /\/no\/such\/file: ENOENT/],
      [['--outside', '/no/such/netns', '--platform', 'linux'], /\/no\/such\/netns/],
      [['--sleds', '2'], /unknown option '--sleds'/],
    ] as const) {
      const { code, said } = rackUp(state, words)
      assert.equal(code, 1, said)
      assert.match(said, sentence)
    }
  })
})

test('a full disk refuses the volume and leaves none of it', async () => {
  const rack = new TestRack('linux')
  const small = ['-t', 'tmpfs', '-o', 'size=90m', 'tmpfs', rack.state]
  assert.equal(attempt('mount', small).status, 0)
  try {
    await rack.up()
    await rack.oxide('org', 'create', 'myorg', '-D', 'x')
    await rack.oxide('project', 'create', '-o', 'myorg', 'myproj', '-D', 'x')
    const image = await rack.api<{ id: string }>('/system/images', 'POST', {
      name: 'alpine',
      description: 'x',
      block_size: 512,
      distribution: { name: 'alpine', version: '1' },
      source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
    })
    const disks = '/organizations/myorg/projects/myproj/disks'
    await assert.rejects(
      rack.api(disks, 'POST', {
        name: 'd',
        description: 'x',
        size: 1024 ** 3,
        disk_source: { type: 'global_image', image_id: image.id },
      }),
      /503.*ServiceNotAvailable/s,
    )
    const { items } = await rack.api<{ items: readonly unknown[] }>(disks)
    assert.deepEqual(items, [])
    assert.deepEqual(readdirSync(join(rack.state, 'sled1/volumes')), [])
    await rack.down()
    assert.equal(existsSync(join(rack.state, 'rack.json')), false)
  } finally {
    attempt(join(repository, 'tools/luge'), ['rack', 'down', '--state', rack.state])
    assert.equal(attempt('umount', [rack.state]).stderr, '')
    await rack.destroy()
  }
})
