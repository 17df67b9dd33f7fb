/** Our DNS as kdig, which knows nothing of us, sees it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { createConnection } from 'node:net'
import { after, before, test } from 'node:test'
import { seededRandom } from '#runtime/random.ts'
import { answerPacket, serveDns, type DnsServer, type Zone, type ZoneRecord } from '#runtime/dns.ts'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const zoneName = 'control-plane.oxide.internal'
const host = (n: number) => `${n}.host.${zoneName}`
const many: ZoneRecord[] = Array.from({ length: 40 }, (_, n) => ({
  type: 'SRV',
  data: { prio: 0, weight: 0, port: 1000 + n, target: host(n) },
}))
const zone: Zone = {
  name: zoneName,
  serial: 7,
  records: new Map<string, readonly ZoneRecord[]>([
    [
      `_nexus._tcp.${zoneName}`,
      [{ type: 'SRV', data: { prio: 0, weight: 0, port: 12_221, target: host(1) } }],
    ],
    [`_many._tcp.${zoneName}`, many],
    ...many.map(
      (_, n) => [host(n), [{ type: 'AAAA', data: `fd00:1122:3344:101::${n + 1}` }]] as const,
    ),
  ]),
}
let server: DnsServer
before(async () => {
  server = await serveDns({ address: '127.0.0.1', port: 0 })
  server.setZone(zone)
})
after(async () => {
  await server.close()
})

const run = promisify(execFile)
const kdig = async (...args: readonly string[]) => {
  const { stdout } = await run('kdig', ['@127.0.0.1', '-p', String(server.port), ...args])
  return stdout
}

test('kdig gets SRV with its target’s address, and AAAA by itself', async () => {
  const srv = await kdig('SRV', `_nexus._tcp.${zoneName}`)
  assert.match(srv, /status: NOERROR/)
  assert.match(srv, /Flags: qr aa/)
  assert.match(srv, /SRV\s+0 0 12221 1\.host\.control-plane/)
  assert.match(srv, /ADDITIONAL SECTION:\s+1\.host[^\n]+AAAA\s+fd00:1122:3344:101::2/)
  assert.equal((await kdig('+short', 'AAAA', host(3))).trim(), 'fd00:1122:3344:101::4')
})

test('names are compared without regard to case', async () => {
  assert.match(await kdig('+short', 'SRV', `_NEXUS._tcp.${zoneName.toUpperCase()}`), /12221/)
})

test('a missing name, a missing type and a foreign zone are told apart', async () => {
  const missing = await kdig('AAAA', `nobody.${zoneName}`)
  assert.match(missing, /status: NXDOMAIN/)
  assert.match(missing, /SOA/)
  const noData = await kdig('A', host(1))
  assert.match(noData, /status: NOERROR/)
  assert.match(noData, /ANSWER: 0.*AUTHORITY: 1/)
  const inner = await kdig('AAAA', `host.${zoneName}`)
  assert.match(inner, /status: NOERROR/, 'a name with names below it exists')
  assert.match(await kdig('AAAA', 'example.org'), /status: REFUSED/)
})

test('the zone’s apex has SOA and NS', async () => {
  assert.match(await kdig('+short', 'SOA', zoneName), /^ns\.control-plane.* 7 3600/)
  assert.match(await kdig('+short', 'NS', zoneName), /^ns\.control-plane/)
  assert.match(await kdig('+short', 'ANY', host(1)), /fd00/)
})

test('an answer too long for UDP is cut, and whole over TCP', async () => {
  const cut = await kdig('+ignore', '+noedns', 'SRV', `_many._tcp.${zoneName}`)
  assert.match(cut, /Flags: qr aa tc/)
  const whole = await kdig('+tcp', '+short', 'SRV', `_many._tcp.${zoneName}`)
  assert.equal(whole.trim().split('\n').length, 40)
})

test('garbage from the network is answered or dropped, and the server goes on', async () => {
  const random = seededRandom(20_261_124)
  const good = spawnSync('kdig', ['+noall', '-v'], { encoding: 'utf8' })
  assert.equal(good.error, undefined)
  const client = createSocket('udp4')
  for (let turn = 0; turn < 3_000; turn += 1) {
    const packet = Buffer.from(random.bytes(Math.floor(random.next() * 80)))
    if (packet.length > 2 && turn % 2 === 0) packet.writeUInt8(packet.readUInt8(2) & 0x7f, 2)
    const answer = answerPacket(zone, packet, turn % 3 === 0)
    assert.ok(answer === null || answer.length >= 12)
    if (turn % 10 === 0) client.send(packet, server.port, '127.0.0.1')
  }
  client.close()
  const tcp = createConnection(server.port, '127.0.0.1')
  tcp.on('error', () => undefined)
  tcp.write(Buffer.from(random.bytes(2_000)))
  assert.match(await kdig('+short', 'AAAA', host(1)), /fd00/)
  tcp.destroy()
})
