/**
 * A rack of two sleds on a real kernel, and a real guest that goes between them: with its memory, its disk,
 * its console and its addresses. The witnesses are programs that know nothing of us: ssh, curl, ip, ps.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { containers, leftovers, sh, TestRack, until } from '#test/kit/rack.ts'

const project = '/organizations/myorg/projects/myproj'
const rack = new TestRack('linux', 'sqlite', 1, 2)
const keys = mkdtempSync(join(tmpdir(), 'luge-keys-'))

interface Named {
  readonly id: string
}
interface Page<T> {
  readonly items: readonly T[]
}

before(async () => {
  await rack.up()
  await rack.prepare()
  await sh('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, 'id')])
  await rack.api('/session/me/sshkeys', 'POST', {
    name: 'mine',
    description: 'x',
    public_key: readFileSync(join(keys, 'id.pub'), 'utf8').trim(),
  })
})
after(async () => {
  const { tag, state } = rack
  await rack.down()
  rmSync(keys, { recursive: true, force: true })
  assert.deepEqual(leftovers(tag, state), [])
  await rack.destroy()
})

const idOf = (sled: number) => rack.ready?.sleds[sled - 1]?.id ?? ''
const becomes = async (name: string, run_state: string) => {
  await until(`${name} is ${run_state}`, 90_000, async () => {
    const seen = await rack
      .api<{ run_state: string }>(`${project}/instances/${name}`)
      .catch(() => null)
    return seen?.run_state === run_state ? true : null
  })
}
const externalIp = async (name: string) => {
  const { items } = await rack.api<Page<{ ip: string }>>(
    `${project}/instances/${name}/external-ips`,
  )
  assert.ok(items[0] !== undefined, `${name} has an external IP`)
  return items[0].ip
}
const privateIp = async (name: string) => {
  const { items } = await rack.api<Page<{ ip: string }>>(
    `${project}/instances/${name}/network-interfaces`,
  )
  assert.ok(items[0] !== undefined, `${name} has an interface`)
  return items[0].ip
}
const serial = async (name: string) =>
  await rack.oxide(
    ...['instance', 'serial', '-o', 'myorg', '-p', 'myproj', '--byte-offset=0', '-m', '1048576'],
    name,
  )
/** What sleds have is found by these. */
const ids = new Map<string, { readonly instance: string; readonly disk: string }>()
const idsOf = (name: string) => {
  const found = ids.get(name)
  assert.ok(found !== undefined, `${name} was launched`)
  return found
}
/** The sleds, from 1, where QEMU has a guest. */
const sledsOf = (name: string): readonly number[] =>
  [1, 2].filter((sled) => {
    const path = join(rack.state, `sled${sled}`, 'instances', idsOf(name).instance, 'machine.json')
    if (!existsSync(path)) return false
    const { propolis_id } = JSON.parse(readFileSync(path, 'utf8')) as { propolis_id: string }
    return new RegExp(`oxz_propolis-server_${propolis_id}\\s+\\d+\\s+running`).test(
      containers(join(rack.state, `sled${sled}`, 'crun')),
    )
  })
const volumesOn = (sled: number, name: string) => {
  const path = join(rack.state, `sled${sled}`, 'volumes')
  const files = existsSync(path) ? readdirSync(path) : []
  return files.filter((file) => file.startsWith(idsOf(name).disk))
}
const sshCommand = (address: string, ...command: readonly string[]) => [
  ...['ssh', '-i', join(keys, 'id'), '-o', 'StrictHostKeyChecking=no', '-o', 'BatchMode=yes'],
  ...['-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=5', '-o', 'LogLevel=ERROR'],
  `root@${address}`,
  ...command,
]
const ssh = (address: string, ...command: readonly string[]) =>
  rack.outsideRun(...sshCommand(address, ...command))
const migrate = async (name: string, to: number) =>
  await rack.api<{ run_state: string }>(`${project}/instances/${name}/migrate`, 'POST', {
    dst_sled_id: idOf(to),
  })
/** A guest with a disk of its own, made from the image. */
const launch = async (name: string) => {
  const { id: image_id } = await rack.api<Named>('/system/images/alpine')
  const { id: instance } = await rack.api<Named>(`${project}/instances`, 'POST', {
    name,
    description: 'x',
    hostname: name,
    memory: 1_073_741_824,
    ncpus: 1,
    disks: [
      {
        type: 'create',
        name: `${name}-disk`,
        description: 'x',
        size: 1_073_741_824,
        disk_source: { type: 'global_image', image_id },
      },
    ],
    external_ips: [{ type: 'ephemeral' }],
  })
  const { id: disk } = await rack.api<Named>(`${project}/disks/${name}-disk`)
  ids.set(name, { instance, disk })
}
const prompts = async (name: string) => {
  await until(`${name} shows its login prompt`, 120_000, async () =>
    (await serial(name).catch(() => '')).includes(`${name} login: `) ? true : null,
  )
}

let here = 0
let mover = ''

test('a guest boots on one of two sleds', async () => {
  await launch('mover')
  await prompts('mover')
  const [only = 0, ...others] = sledsOf('mover')
  assert.deepEqual(others, [])
  here = only
  mover = await externalIp('mover')
  const said = ssh(mover, 'hostname')
  assert.equal(said.stdout, 'mover\n', said.stderr)
})

/** A connection from outside to the guest that says something ten times a second, until it is ended. */
function converse(): { readonly heard: () => readonly string[]; readonly end: () => void } {
  const script = 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done'
  const child = spawn('ip', ['netns', 'exec', rack.outside, ...sshCommand(mover, script)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.on('data', (data: Buffer) => {
    text += data.toString()
  })
  return {
    heard: () => text.split('\n').filter(Boolean),
    end: () => {
      child.kill()
    },
  }
}

test('it migrates with its memory, its disk, its console, its address and its connections', async () => {
  const began = ssh(
    mover,
    'echo kept >/run/kept; printf onthedisk | dd of=/dev/vda bs=512 seek=2000000 conv=fsync;',
    'cat /proc/sys/kernel/random/boot_id; echo said >/dev/ttyS0',
  )
  const boot = began.stdout.trim()
  assert.match(boot, /^[0-9a-f-]{36}$/, began.stderr)
  const history = await serial('mover')
  const there = 3 - here
  const talk = converse()
  try {
    await until('the guest talks', 10_000, () => (talk.heard().length > 3 ? true : null))
    const answered = await migrate('mover', there)
    assert.equal(answered.run_state, 'running')
    assert.deepEqual(sledsOf('mover'), [there])
    const until_now = talk.heard().length
    await until('the guest goes on talking', 10_000, () =>
      talk.heard().length > until_now + 5 ? true : null,
    )
    const heard = talk.heard().map(Number)
    assert.deepEqual(
      heard,
      heard.map((_, index) => index + 1),
      'nothing is lost on the way',
    )
  } finally {
    talk.end()
  }
  const kept = ssh(
    mover,
    'cat /run/kept /proc/sys/kernel/random/boot_id;',
    'dd if=/dev/vda bs=512 skip=2000000 count=1 2>/dev/null | tr -d "\\0"',
  )
  assert.equal(kept.stdout, `kept\n${boot}\nonthedisk`, kept.stderr)
  assert.ok((await serial('mover')).startsWith(history), 'the console has its history')
  assert.deepEqual(volumesOn(here, 'mover'), [])
  assert.equal(volumesOn(there, 'mover').length, 1)
  here = there
})

/** Prints the page that a guest serves. */
const fetched = (address: string) =>
  `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} 80`

test('guests of a VPC reach each other wherever they are', async () => {
  await launch('stayer')
  await prompts('stayer')
  const stayer = await privateIp('stayer')
  for (let times = 0; times < 2; times += 1) {
    const said = ssh(mover, fetched(stayer))
    assert.match(said.stdout, /<h1>stayer<\/h1>/, said.stderr)
    const answered = ssh(await externalIp('stayer'), fetched(await privateIp('mover')))
    assert.match(answered.stdout, /<h1>mover<\/h1>/, answered.stderr)
    here = 3 - here
    assert.equal((await migrate('mover', here)).run_state, 'running')
  }
})

test('what it writes to its disk on the way is there afterwards, all of it', async () => {
  const writing = [
    'i=0; while [ -e /run/writes ]; do i=$((i+1));',
    'printf "%08d" $i | dd of=/dev/vda bs=512 seek=$((1000000+i)) conv=fsync 2>/dev/null;',
    'echo $i >/run/written; done',
  ]
  // And to its memory, as fast as it can.
  const noise = 'while [ -e /run/writes ]; do dd if=/dev/zero of=/run/noise bs=1M count=64; done'
  for (const loop of [writing.join(' '), noise]) {
    ssh(mover, `touch /run/writes; (${loop}) </dev/null >/dev/null 2>&1 &`)
  }
  for (let times = 0; times < 2; times += 1) {
    here = 3 - here
    assert.equal((await migrate('mover', here)).run_state, 'running')
  }
  const read = ssh(
    mover,
    'rm /run/writes; sleep 1; echo 3 >/proc/sys/vm/drop_caches; last=$(cat /run/written); echo $last;',
    'for i in $(seq 1 $last); do dd if=/dev/vda bs=512 skip=$((1000000+i)) count=1 2>/dev/null | head -c 8; echo; done',
  )
  const [last = '', ...found] = read.stdout.trim().split('\n')
  assert.ok(Number(last) > 20, `${last} writes; ${read.stderr}`)
  assert.deepEqual(
    found,
    found.map((_, index) => String(index + 1).padStart(8, '0')),
  )
  assert.equal(found.length, Number(last))
})

test('it can be stopped, started and deleted where it has come to', async () => {
  for (const [action, state] of [
    ['stop', 'stopped'],
    ['start', 'running'],
  ] as const) {
    await rack.api(`${project}/instances/mover/${action}`, 'POST')
    await becomes('mover', state)
  }
  assert.deepEqual(sledsOf('mover'), [here])
  await until('it is reached again', 60_000, () =>
    ssh(mover, 'hostname').stdout === 'mover\n' ? true : null,
  )
})

test('whichever supervisor is killed in the middle, one guest goes on, with its memory', async () => {
  ssh(mover, 'echo kept >/run/kept')
  for (const [victim, after_ms] of [
    ['target', 300],
    ['source', 300],
    ['target', 700],
    ['source', 900],
  ] as const) {
    const there = 3 - here
    const asked = migrate('mover', there).catch(() => null)
    await sleep(after_ms)
    process.kill(rack.supervisorOf(victim === 'source' ? here : there), 'SIGKILL')
    await asked
    await rack.up()
    await becomes('mover', 'running')
    const [now = 0] = await until('it is on one sled', 60_000, () => {
      const sleds = sledsOf('mover')
      return sleds.length === 1 ? sleds : null
    })
    await until(`it goes on after the ${victim} was killed`, 30_000, () =>
      ssh(mover, 'cat /run/kept').stdout === 'kept\n' ? true : null,
    )
    // The guest goes on first; then the sled that it is not on is cleaned.
    await until('the other sled has let go of its volume', 30_000, () =>
      volumesOn(3 - now, 'mover').length === 0 ? true : null,
    )
    here = now
  }
})

/** A disk that chance has put on this sled; those that it has put elsewhere go again. */
async function makeDiskOn(sled: number, name: string, body: object): Promise<Named> {
  for (let tries = 0; tries < 50; tries += 1) {
    const disk = await rack.api<Named>(`${project}/disks`, 'POST', {
      ...{
        name,
        description: 'x',
        size: 1_073_741_824,
        disk_source: { type: 'blank', block_size: 512 },
      },
      ...body,
    })
    if (volumeIsOn(sled, disk)) return disk
    await rack.api(`${project}/disks/${name}`, 'DELETE')
  }
  throw new Error(`no disk came to sled ${sled}`)
}
const volumeIsOn = (sled: number, { id }: Named) =>
  existsSync(join(rack.state, `sled${sled}`, 'volumes', `${id}.raw`))

test('a disk comes to the sled of its instance when that starts, with all that was written to it', async () => {
  const there = 3 - here
  const data = await makeDiskOn(there, 'data', {})
  await rack.api(`${project}/instances/mover/stop`, 'POST')
  await becomes('mover', 'stopped')
  await rack.api(`${project}/instances/mover/disks/attach`, 'POST', { name: 'data' })
  await rack.api(`${project}/instances/mover/start`, 'POST')
  await becomes('mover', 'running')
  assert.deepEqual([volumeIsOn(here, data), volumeIsOn(there, data)], [true, false])
  await until('the guest writes to it', 60_000, () =>
    ssh(mover, 'printf written | dd of=/dev/vdb conv=fsync').status === 0 ? true : null,
  )
  await rack.api(`${project}/instances/mover/stop`, 'POST')
  await becomes('mover', 'stopped')
  await rack.api(`${project}/instances/mover/disks/detach`, 'POST', { name: 'data' })

  const { id: image_id } = await rack.api<Named>('/system/images/alpine')
  const boot = { size: 2_147_483_648, disk_source: { type: 'global_image', image_id } }
  await makeDiskOn(there, 'boot', boot)
  await rack.api(`${project}/instances`, 'POST', {
    ...{ name: 'reader', description: 'x', hostname: 'reader', memory: 1_073_741_824, ncpus: 1 },
    disks: ['boot', 'data'].map((name) => ({ type: 'attach', name })),
    external_ips: [{ type: 'ephemeral' }],
  })
  assert.deepEqual([volumeIsOn(here, data), volumeIsOn(there, data)], [false, true])
  await prompts('reader')
  const read = ssh(await externalIp('reader'), 'head -c 7 /dev/vdb')
  assert.equal(read.stdout, 'written', read.stderr)
})
