/**
 * The guide's walk-through on a real rack: real containers, real QEMU guests, real packets. The
 * witnesses are programs that know nothing of us: ping, curl, ssh, tcpdump, kdig, crun, nft.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import WebSocket from 'ws'
import { attempt, containers, leftovers, repository, sh, TestRack, until } from '#test/kit/rack.ts'
import { onTerminal } from '#test/kit/terminal.ts'

const project = '/organizations/myorg/projects/myproj'
const rack = new TestRack('linux')
const keys = mkdtempSync(join(tmpdir(), 'luge-keys-'))
let tag = ''

interface Named {
  readonly id: string
  readonly name: string
}
interface Instance extends Named {
  readonly run_state: string
}
interface Page<T> {
  readonly items: readonly T[]
}
interface ExternalIp {
  readonly ip: string
}
interface Nic extends Named {
  readonly ip: string
  readonly mac: string
  readonly primary: boolean
}

before(async () => {
  await rack.up()
  tag = rack.tag
})
after(async () => {
  await rack.destroy()
  rmSync(keys, { recursive: true, force: true })
})

const runState = async (name: string) =>
  (await rack.api<Instance>(`${project}/instances/${name}`)).run_state
const waitState = async (name: string, wanted: string, within_ms: number) => {
  await until(`${name} is ${wanted}`, within_ms, async () =>
    (await runState(name)) === wanted ? true : null,
  )
}
/** What the guide types: `oxide api PATH --method POST --input -`, with the body on stdin. */
const post = async <T>(path: string, body: unknown) =>
  JSON.parse(
    await rack.oxideWith(JSON.stringify(body), 'api', path, '--method', 'POST', '--input', '-'),
  ) as T
const serial = async (name: string) =>
  await rack.oxide(
    ...['instance', 'serial', '-o', 'myorg', '-p', 'myproj', '--byte-offset=0', '-m', '1048576'],
    name,
  )
const externalIp = async (name: string) => {
  const page = await rack.api<Page<ExternalIp>>(`${project}/instances/${name}/external-ips`)
  const [first] = page.items
  assert.ok(first !== undefined, `${name} has an external IP`)
  return first.ip
}
const ssh = (address: string, ...command: readonly string[]) =>
  rack.outsideRun(
    ...['ssh', '-i', join(keys, 'id'), '-o', 'StrictHostKeyChecking=no', '-o', 'BatchMode=yes'],
    ...['-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=5', `root@${address}`],
    ...command,
  )

/** Types at the console as root and returns when `expected` has been printed. */
async function atConsole(
  name: string,
  lines: readonly string[],
  expected: RegExp,
): Promise<string> {
  const ready = rack.ready
  assert.ok(ready !== null)
  const url = `${ready.external.replace('http', 'ws')}${project}/instances/${name}/serial-console/stream`
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${ready.token}` } })
  let heard = ''
  socket.on('message', (data: Buffer) => {
    heard += data.toString('utf8')
  })
  try {
    await until('the console opens', 10_000, () =>
      socket.readyState === socket.OPEN ? true : null,
    )
    for (const line of lines) {
      const length = heard.length
      socket.send(Buffer.from(`${line}\n`))
      await until(`an echo of ${line}`, 10_000, () => (heard.length > length ? true : null))
    }
    await until(`${expected} at the console`, 30_000, () => (expected.test(heard) ? true : null))
    return heard
  } finally {
    socket.terminate()
  }
}

test('oxide alone takes the guide from an organization to a login prompt', async () => {
  assert.match(
    await rack.oxide('api', '/session/me'),
    /"id": "001de000-05e4-4000-8000-000000004007"/,
  )
  assert.equal(
    (await rack.oxide('org', 'create', 'myorg', '-D', 'an organization')).trim(),
    '✔ Created organization myorg',
  )
  assert.equal(
    (await rack.oxide('project', 'create', '-o', 'myorg', 'myproj', '-D', 'a project')).trim(),
    '✔ Created project myorg/myproj',
  )
  await sh('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, 'id')])
  const public_key = (await sh('cat', [join(keys, 'id.pub')])).trim()
  await post('/session/me/sshkeys', { name: 'k', description: 'a key', public_key })
  await post('/system/ip-pools', { name: 'mypool', description: 'an IP pool' })
  await post('/system/ip-pools/mypool/ranges/add', {
    first: '172.20.15.227',
    last: '172.20.15.239',
  })
  const image = await post<Named & { size: number }>('/system/images', {
    name: 'alpine',
    description: 'boot from propolis zone blob!',
    block_size: 512,
    distribution: { name: 'alpine', version: 'propolis-blob' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  })
  assert.equal(image.size, 104_857_600)
  const disk = await post<Named & { state: { state: string } }>(`${project}/disks/`, {
    name: 'alpine',
    description: 'alpine.iso blob',
    block_size: 512,
    size: 1_073_741_824,
    disk_source: { type: 'global_image', image_id: image.id },
  })
  assert.equal(disk.state.state, 'creating')
  const instance = await post<Instance>(`${project}/instances`, {
    name: 'myinst',
    description: 'my inst',
    hostname: 'myinst',
    memory: 1_073_741_824,
    ncpus: 2,
    disks: [{ type: 'attach', name: 'alpine' }],
    external_ips: [{ type: 'ephemeral' }],
  })
  assert.equal(instance.run_state, 'starting')
  await waitState('myinst', 'running', 30_000)
  await until('the login prompt', 120_000, async () =>
    /myinst login: /.test(await serial('myinst')) ? true : null,
  )
  const { items } = await rack.api<Page<Nic>>(`${project}/instances/myinst/network-interfaces`)
  assert.equal(items[0]?.name, 'net0')
  assert.equal(items[0]?.ip, '172.30.0.5')
  assert.equal(await externalIp('myinst'), '172.20.15.228')
})

test('the interactive console gives a prompt for Enter, takes root without a password, and ends by Ctrl-C', async () => {
  const words = ['instance', 'serial', '--interactive', '-o', 'myorg', '-p', 'myproj', 'myinst']
  const played = await onTerminal(
    [join(repository, 'tools/oxide'), ...words],
    [
      { mode: 'raw' },
      { send: '\r' },
      { expect: 'myinst login: ' },
      { send: 'root\r' },
      { expect: '# ' },
      { send: 'exit\r' },
      { expect: 'myinst login: ' },
      { send: '\x03' },
    ],
    { ...process.env, ...rack.env },
  )
  assert.equal(played.code, 0)
  assert.ok(played.restored, 'the terminal is as it was')
})

test('the guest and Nexus live in containers that crun knows by their zone names', () => {
  const state = join(rack.state, 'sled1')
  const list = containers(join(state, 'crun'))
  assert.match(list, /^oxz_nexus\s+\d+\s+running/m)
  assert.match(list, /^oxz_propolis-server_[0-9a-f-]+\s+\d+\s+running/m)
})

test('the outside pings the guest and logs in by ssh with the uploaded key', async () => {
  const address = await externalIp('myinst')
  await until('ping answers', 20_000, () =>
    rack.outsideRun('ping', '-c1', '-W1', address).status === 0 ? true : null,
  )
  const said = await until('ssh answers', 30_000, () => {
    const result = ssh(address, 'hostname; ip -4 addr show dev eth0')
    return result.status === 0 ? result.stdout : null
  })
  assert.match(said, /^myinst$/m)
  assert.match(said, /inet 172\.30\.0\.5\/32/)
})

test('a port that no rule allows stays closed until a rule opens it', async () => {
  const address = await externalIp('myinst')
  const curl = () => rack.outsideRun('curl', '-sS', '--max-time', '2', `http://${address}/`)
  assert.equal(curl().status, 28, 'curl times out: dropped, not refused')
  interface Rules {
    readonly rules: ReadonlyArray<Record<string, unknown>>
  }
  const path = `${project}/vpcs/default/firewall/rules`
  const { rules } = await rack.api<Rules>(path)
  const http = {
    name: 'allow-http',
    description: 'the page',
    status: 'enabled',
    direction: 'inbound',
    targets: [{ type: 'vpc', value: 'default' }],
    filters: { hosts: null, ports: ['80'], protocols: ['TCP'] },
    action: 'allow',
    priority: 100,
  }
  await rack.api(path, 'PUT', { rules: [...rules, http] })
  const page = await until('curl gets the page', 10_000, () => {
    const result = curl()
    return result.status === 0 ? result.stdout : null
  })
  assert.match(page, /myinst/)
  await rack.api(path, 'PUT', { rules })
  await until('the port is closed again', 10_000, () => (curl().status === 28 ? true : null))
})

test('a guest without an external IP leaves through its 16384 ports of the SNAT address only', async () => {
  const image = await rack.api<Named>('/system/images/alpine')
  await rack.api(`${project}/instances`, 'POST', {
    name: 'quiet',
    description: 'no external IP',
    hostname: 'quiet',
    memory: 1_073_741_824,
    ncpus: 1,
    disks: [
      {
        type: 'create',
        name: 'quiet',
        description: 'its disk',
        size: 1_073_741_824,
        disk_source: { type: 'global_image', image_id: image.id },
      },
    ],
  })
  await until('its login prompt', 120_000, async () =>
    /quiet login: /.test(await serial('quiet')) ? true : null,
  )
  const server = spawn('ip', [
    ...['netns', 'exec', rack.outside, 'busybox', 'httpd', '-f', '-p', '8000', '-h', keys],
  ])
  const capture = spawn('ip', [
    ...[
      'netns',
      'exec',
      rack.outside,
      'tcpdump',
      '-lnn',
      '--immediate-mode',
      '-i',
      'any',
      'tcp dst port 8000',
    ],
  ])
  let seen = ''
  capture.stdout.on('data', (data: Buffer) => {
    seen += data.toString()
  })
  let captureSays = ''
  capture.stderr.on('data', (data: Buffer) => {
    captureSays += data.toString()
  })
  try {
    await until('tcpdump listens', 10_000, () => (/listening on/.test(captureSays) ? true : null))
    const heard = await atConsole(
      'quiet',
      [
        'root',
        'for i in 1 2 3 4 5 6; do wget -qO- http://172.20.15.225:8000/id.pub; done; echo do"ne"',
      ],
      /\ndone/,
    )
    assert.match(heard, /ssh-ed25519/)
    const connection = /IP 172\.20\.15\.227\.(\d+) > 172\.20\.15\.225\.8000: Flags \[S\]/g
    const ports = await until('tcpdump has seen all connections', 10_000, () => {
      const found = [...seen.matchAll(connection)]
      return found.length >= 6 ? found : null
    })
    for (const [, port] of ports) {
      // The second instance's chunk: the first has 0–16383.
      assert.ok(Number(port) >= 16_384 && Number(port) <= 32_767, `source port ${port}`)
    }
    assert.equal(/172\.30\./.test(seen), false, 'no private address leaves')
  } finally {
    capture.kill()
    server.kill()
  }
})

const kdig = (name: string, type: string) =>
  attempt('ip', [
    ...['netns', 'exec', `ox${tag}_gz`, 'kdig', '+short', '@fd00:1122:3344:1::1', type, name],
  ]).stdout.trim()

test('kdig finds Nexus and the sled by SRV and AAAA', async () => {
  const zone = 'control-plane.oxide.internal'
  const srv = kdig(`_nexus._tcp.${zone}`, 'SRV')
  const match = /^0 0 12221 ([0-9a-f-]+\.host\.control-plane\.oxide\.internal)\.$/.exec(srv)
  assert.ok(match !== null, `SRV of Nexus: ${srv}`)
  assert.equal(kdig(match[1] ?? '', 'AAAA'), 'fd00:1122:3344:101::4')
  const sled = rack.ready?.sleds[0]?.id ?? ''
  assert.equal(kdig(`_sledagent._tcp.${sled}.${zone}`, 'SRV'), `0 0 12345 ${sled}.sled.${zone}.`)
  assert.equal(kdig(`${sled}.sled.${zone}`, 'AAAA'), 'fd00:1122:3344:101::1')
})

test('a disk of a snapshot has what the running guest had written, whatever it wrote since', async () => {
  const address = await externalIp('myinst')
  const place = ['bs=512', 'count=1', 'status=none']
  const write = (text: string) => {
    const wrote = ssh(address, `echo ${text} | dd of=/dev/vda bs=512 seek=2000000 conv=fsync`)
    assert.equal(wrote.status, 0, wrote.stderr)
  }
  const volume = (id: string) => join(rack.state, 'sled1/volumes', `${id}.raw`)
  const read = async (id: string) =>
    (await sh('dd', [`if=${volume(id)}`, 'skip=2000000', ...place])).replaceAll('\0', '').trim()
  write('then')
  const text = { description: 'x' }
  const snapshot = await post<Named & { disk_id: string; state: string }>(`${project}/snapshots`, {
    name: 'snap',
    ...text,
    disk: 'alpine',
  })
  assert.equal(snapshot.state, 'ready')
  write('now')
  const disk = await post<Named>(`${project}/disks`, {
    name: 'second',
    ...text,
    size: 2 * 1_073_741_824,
    disk_source: { type: 'snapshot', snapshot_id: snapshot.id },
  })
  assert.equal(await read(disk.id), 'then')
  assert.equal(await read(snapshot.disk_id), 'now')
  const span = `start_time=2022-11-11T00:00:00Z&end_time=${new Date(Date.now() + 60_000).toISOString()}`
  await until('the guest’s writes are counted', 15_000, async () => {
    const { items } = await rack.api<Page<{ datum: { datum: { value: number } } }>>(
      `${project}/disks/alpine/metrics/write_bytes?${span}`,
    )
    return (items.at(-1)?.datum.datum.value ?? 0) >= 1_024 ? true : null
  })
  await rack.api(`${project}/snapshots/snap`, 'DELETE')
  await rack.api(`${project}/disks/second`, 'DELETE')
  for (const { id } of [snapshot, disk]) assert.equal(existsSync(volume(id)), false)
})

test('a guest survives kill -9 of the supervisor, which then adopts it', async () => {
  const address = await externalIp('myinst')
  const ping = spawn('ip', [
    ...['netns', 'exec', rack.outside, 'ping', '-i', '0.2', '-W', '1', address],
  ])
  let pings = ''
  ping.stdout.on('data', (data: Buffer) => {
    pings += data.toString()
  })
  const answered = () => [...pings.matchAll(/icmp_seq=/g)].length
  try {
    await until('pings are answered', 10_000, () => (answered() >= 3 ? true : null))
    process.kill(rack.supervisorPid, 'SIGKILL')
    const atKill = answered()
    await until('pings go on without the supervisor', 10_000, () =>
      answered() >= atKill + 5 ? true : null,
    )
    await rack.up()
    await until('the API shows it running, and its sled answers for it', 5_000, async () =>
      (await rack.status()).nexus_connected &&
      (await runState('myinst')) === 'running' &&
      /login: /.test(await serial('myinst'))
        ? true
        : null,
    )
  } finally {
    ping.kill('SIGINT')
  }
  await rack.oxide('instance', 'stop', '-o', 'myorg', '-p', 'myproj', '--confirm', 'myinst')
  await waitState('myinst', 'stopped', 60_000)
  await rack.oxide('instance', 'start', '-o', 'myorg', '-p', 'myproj', 'myinst')
  await waitState('myinst', 'running', 30_000)
  await until('ping answers again', 90_000, () =>
    rack.outsideRun('ping', '-c1', '-W1', address).status === 0 ? true : null,
  )
})

test('rack down leaves nothing, also when everything was killed with -9 first', async () => {
  const supervisor = rack.supervisorPid
  const nexus = /^oxz_nexus\s+(\d+)/m.exec(containers(join(rack.state, 'sled1/crun')))
  assert.ok(nexus !== null)
  process.kill(supervisor, 'SIGKILL')
  process.kill(Number(nexus[1]), 'SIGKILL')
  await rack.down()
  assert.deepEqual(leftovers(tag, rack.state), [])
  const outside = rack.outsideRun('ip', '-o', 'link').stdout.trim().split('\n')
  assert.equal(outside.length, 1, `only the loopback is left outside: ${outside.join('; ')}`)
})
