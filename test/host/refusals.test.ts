/** What an operator reads when a machine cannot do what was asked, and that nothing is left of it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import {
  attempt,
  containers,
  freePort,
  leftovers,
  repository,
  tagOf,
  TestRack,
  until,
} from '#test/kit/rack.ts'

const luge = join(repository, 'runtime/bin/luge.ts')
const nobody = 65_534
/** Runs a program as nobody, who may read the repository wherever it is and nothing more. */
const asNobody = [
  ...['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'],
  ...['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'],
]
interface How {
  readonly env?: NodeJS.ProcessEnv
  /** Words before the command. */
  readonly as?: readonly string[]
}

function rackUp(state: string, words: readonly string[], how: How = {}) {
  const args = ['rack', 'up', '--detach', '--json', '--state', state, ...words]
  const [program = '', ...rest] = [...(how.as ?? []), process.execPath, luge, ...args]
  const ran = spawnSync(program, rest, {
    encoding: 'utf8',
    timeout: 120_000,
    env: how.env ?? process.env,
  })
  return { code: ran.status, said: ran.stderr, printed: ran.stdout }
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
          assert.deepEqual(leftovers(tagOf(state), state), [])
        })
      } finally {
        attempt('ip', ['netns', 'del', outside])
      }
    }
  } finally {
    server.close()
  }
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

test('without root linux is refused with what to do, and auto brings up sim', async () => {
  const port = await freePort()
  inState((state) => {
    chownSync(dirname(state), nobody, nobody)
    const words = ['--external', `127.0.0.1:${port}`]
    const refused = rackUp(state, ['--platform', 'linux', ...words], { as: asNobody })
    assert.equal(refused.code, 1)
    assert.match(
      refused.said,
      /^luge: platform linux cannot run here: not root: run it with sudo\n$/,
    )
    assert.equal(existsSync(state), false)
    const up = rackUp(state, words, { as: asNobody })
    assert.equal(up.code, 0, up.said)
    assert.match(up.said, /^luge: platform sim: no real guests here: not root: run it with sudo\n$/)
    assert.match(up.printed, /"platform":"sim"/)
    // A state directory that is closed to the caller is not taken for an empty one.
    const other = [
      ...asNobody.slice(0, 4),
      process.execPath,
      luge,
      'rack',
      'down',
      '--state',
      state,
    ]
    other[1] = '--reuid=65533'
    const down = attempt(other[0] ?? '', other.slice(1))
    assert.equal(down.status, 1, down.stderr)
    assert.match(
      down.stderr,
      /plan cannot be read: EACCES.*act as the user who brought the rack up/,
    )
    const [program, ...rest] = [...asNobody, process.execPath, luge, 'rack', 'down']
    assert.ok(program !== undefined)
    assert.equal(attempt(program, [...rest, '--state', state]).status, 0)
  })
})

test('without the tools linux is refused with what to do, and auto takes sim', () => {
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
      [['--racks', '2'], /unknown option '--racks'/],
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

test('on a full disk no rack begins, and one that had begun keeps its guests until there is room', async () => {
  const rack = new TestRack('linux')
  const small = ['-t', 'tmpfs', '-o', 'size=90m', 'tmpfs', rack.state]
  assert.equal(attempt('mount', small).status, 0)
  const filler = join(rack.state, 'filler')
  const fill = () => {
    writeFileSync(filler, Buffer.alloc(70 * 1024 ** 2))
  }
  const refused =
    /the disk of .*sled1 is full: a rack needs 33554432 bytes, \d+ are free: make room/
  try {
    fill()
    await assert.rejects(rack.up(), refused)
    assert.deepEqual(readdirSync(rack.state), ['filler'])
    rmSync(filler)
    await rack.up()
    const project = await rack.prepare()
    await rack.api(`${project}/instances`, 'POST', {
      name: 'lasting',
      description: 'x',
      hostname: 'lasting',
      memory: 1024 ** 3,
      ncpus: 1,
    })
    const runs = async () => {
      const { run_state } = await rack.api<{ run_state: string }>(`${project}/instances/lasting`)
      return run_state === 'running' ? true : null
    }
    await until('it runs', 30_000, runs)
    const guests = () =>
      [
        ...containers(join(rack.state, 'sled1/crun')).matchAll(
          /^oxz_propolis\S+\s+\d+\s+running/gm,
        ),
      ].flat()
    const before = guests()
    assert.equal(before.length, 1)
    process.kill(rack.supervisorPid, 'SIGKILL')
    fill()
    await assert.rejects(rack.up(), refused)
    assert.deepEqual(guests(), before)
    rmSync(filler)
    await rack.up()
    assert.equal(await runs(), true)
    assert.deepEqual(guests(), before)
    await rack.down()
    assert.deepEqual(readdirSync(rack.state), [])
  } finally {
    attempt(join(repository, 'tools/luge'), ['rack', 'down', '--state', rack.state])
    assert.equal(attempt('umount', [rack.state]).stderr, '')
    await rack.destroy()
  }
})

test('a library that is missing is named with its package, and nothing is left', () => {
  const found = /=> (\S*libnftables\.so\.1)$/m.exec(attempt('ldconfig', ['-p']).stdout)?.[1]
  assert.ok(found !== undefined)
  const outside = `lugerefused${process.pid}`
  assert.equal(attempt('ip', ['netns', 'add', outside]).status, 0)
  try {
    inState((state) => {
      // Seen by this rack alone: the mount is in a namespace of its own.
      const without = ['unshare', '--mount', 'sh', '-c', 'mount --bind /dev/null "$0"; exec "$@"']
      const { code, said } = rackUp(
        state,
        ['--platform', 'linux', '--outside', `/run/netns/${outside}`],
        { as: [...without, realpathSync(found)] },
      )
      assert.equal(code, 1)
      assert.match(said, /libnftables\.so\.1 cannot be loaded: install the package libnftables1/)
      assert.deepEqual(leftovers(tagOf(state), state), [])
    })
  } finally {
    attempt('ip', ['netns', 'del', outside])
  }
})

test('a state directory inside the repository is refused on linux, because Nexus sees that', () => {
  const state = join(repository, 'out', `refused-${process.pid}`)
  const { code, said } = rackUp(state, ['--platform', 'linux'])
  assert.equal(code, 1)
  assert.ok(
    said.includes(`luge: --state ${state} is inside ${repository}, which Nexus sees from its zone`),
    said,
  )
  assert.ok(!existsSync(state))
})
