/** Zones as crun and the kernel see them. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeControlGroup } from '#native/linux/control_group.ts'
import { LinuxZones } from '#native/linux/zone.ts'
import { identify } from '#native/process.ts'
import type { ZoneConfig } from '#native/platform/zone.ts'
import { ok } from '#runtime/result.ts'
import {
  attempt,
  containers,
  freePort,
  leftovers,
  processesOf,
  repository,
  until,
} from '#test/kit/rack.ts'

const state = mkdtempSync(join(tmpdir(), 'luge-zone-'))
const tag = '0e57ed'
const zones = new LinuxZones({ state, tag })
after(async () => {
  await zones.destroyAll(100)
  rmSync(state, { recursive: true, force: true })
})

const log = join(state, 'zone.log')
const config = (name: string, script: string, more: Partial<ZoneConfig> = {}): ZoneConfig => ({
  name,
  args: ['/bin/sh', '-c', script],
  env: ['GREETING=hello'],
  mounts: [],
  devices: [],
  netns: null,
  listen: [],
  log,
  ...more,
})
const logged = () => (existsSync(log) ? readFileSync(log, 'utf8') : '')

test('a zone has its own processes, host name and network, and none of the host’s secrets', async () => {
  writeFileSync(log, '')
  const booted = await zones.boot(
    config(
      'oxz_probe',
      [
        'echo "host $(uname -n)" "pid $$" "$GREETING"',
        'ls /etc',
        'cat /etc/shadow; ls /root; touch /usr/x; cat /proc/net/dev | grep -c eth0',
        'grep CapEff /proc/self/status; echo end; exec sleep 1000',
      ].join('; '),
    ),
  )
  assert.ok(booted.ok, JSON.stringify(booted))
  await until('the zone has spoken', 5_000, () => (logged().includes('end') ? true : null))
  assert.match(logged(), /host oxz_probe pid 1 hello/)
  assert.match(logged(), /shadow: No such file/)
  assert.match(logged(), /Read-only file system/)
  assert.match(logged(), /CapEff:\s+0000000000000000/)
  assert.match(containers(join(state, 'crun')), /oxz_probe\s+\d+\s+running/)
  const again = await zones.boot(config('oxz_probe', 'echo twice; sleep 1'))
  assert.ok(again.ok && booted.ok && again.value.pid === booted.value.pid, 'what runs is kept')
  assert.deepEqual(await zones.remove('oxz_probe', 100), ok(null))
  assert.equal(existsSync(join(state, 'zones/oxz_probe')), false)
  assert.equal(identify(booted.value.pid ?? 0), null, 'its process is gone')
})

test('a listening socket of the host is handed into the zone', async () => {
  const port = await freePort()
  const script =
    'import socket; s = socket.socket(fileno=3); c, _ = s.accept(); c.sendall(b"from inside"); c.close()'
  const booted = await zones.boot({
    ...config('oxz_listener', ''),
    args: ['/usr/bin/python3', '-c', script],
    listen: [{ address: '127.0.0.1', port }],
  })
  assert.ok(booted.ok, JSON.stringify(booted))
  const answer = attempt('busybox', ['nc', '-w', '5', '127.0.0.1', String(port)])
  assert.equal(answer.stdout, 'from inside')
  await zones.remove('oxz_listener', 100)
})

test('a taken address is named, and nothing is booted', async () => {
  const port = await freePort()
  const server = createServer().listen(port, '127.0.0.1')
  try {
    const refused = await zones.boot(
      config('oxz_refused', 'sleep 9', { listen: [{ address: '127.0.0.1', port }] }),
    )
    assert.ok(!refused.ok && refused.error === 'address_taken')
    assert.match(refused.detail, new RegExp(`127.0.0.1 port ${port}`))
    const found = await zones.find('oxz_refused')
    assert.ok(found.ok && found.value.state === 'absent')
  } finally {
    server.close()
  }
})

test('a zone that ended is found stopped, and boots again', async () => {
  await zones.boot(config('oxz_short', 'exit 3'))
  await until('it has stopped', 5_000, async () => {
    const found = await zones.find('oxz_short')
    return found.ok && found.value.state === 'stopped' ? true : null
  })
  const again = await zones.boot(config('oxz_short', 'exec sleep 1000'))
  assert.ok(again.ok && again.value.state === 'running', JSON.stringify(again))
})

test('a program that is not there is an error that names it, and leaves nothing', async () => {
  const failed = await zones.boot({ ...config('oxz_missing', ''), args: ['/no/such/program'] })
  assert.ok(!failed.ok && failed.error === 'os_failed')
  assert.match(failed.detail, /no\/such\/program/)
  const found = await zones.find('oxz_missing')
  assert.ok(found.ok && found.value.state === 'absent')
})

test('a runtime that is killed while it makes a zone leaves nothing that is not found', async () => {
  // From a moment before it begins to one after it has ended.
  for (let delay_ms = 0; delay_ms < 90; delay_ms += 6) {
    const booting = zones.boot(config('oxz_cut', 'exec sleep 1000'))
    await sleep(delay_ms)
    for (const { pid } of processesOf(state)) attempt('kill', ['-9', String(pid)])
    await booting
    assert.deepEqual(await zones.remove('oxz_cut', 100), ok(null))
    const groups = attempt('find', ['/sys/fs/cgroup', '-name', `ox${tag}_oxz_cut`]).stdout
    assert.equal(groups, '', `killed after ${delay_ms} ms`)
  }
  const whole = await zones.boot(config('oxz_cut', 'exec sleep 1000'))
  assert.ok(whole.ok && whole.value.state === 'running', JSON.stringify(whole))
})

test('a control group with processes that cannot be seen is named, and nobody is killed', async () => {
  const name = `ox${tag}_oxz_foreign`
  // Version 2 of the hierarchy lists them; version 1 says nothing of them.
  const group = `/sys/fs/cgroup/${existsSync('/sys/fs/cgroup/unified') ? 'unified/' : ''}${name}`
  const foreign = spawn('sleep', ['1000'])
  mkdirSync(group)
  try {
    writeFileSync(join(group, 'cgroup.procs'), String(foreign.pid))
    const file = join(repository, 'native/linux/control_group.ts')
    const program = `import(${JSON.stringify(file)}).then(async ({ removeControlGroup }) =>
      console.log(JSON.stringify(await removeControlGroup('${name}'))))`
    // In a process group of its own, which is what would be killed.
    const apart = ['--wait', 'unshare', '--pid', '--fork', process.execPath, '-e', program]
    const ran = attempt('setsid', apart)
    assert.equal(ran.status, 0, `${ran.signal} ${ran.stderr}`)
    assert.match(ran.stdout, new RegExp(`"os_failed".*control group ${group}`))
    assert.equal(foreign.kill(0), true)
  } finally {
    foreign.kill('SIGKILL')
    await removeControlGroup(name)
  }
  assert.equal(existsSync(group), false)
})

test('destroyAll ends every zone and forgets all records', async () => {
  const other = new LinuxZones({ state, tag })
  assert.deepEqual(await other.destroyAll(100), ok(null))
  assert.equal(existsSync(join(state, 'crun')), false)
  rmSync(log)
  assert.deepEqual(leftovers(tag, state), [])
})
