import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answer, type Lease, readRequest } from '#native/linux/dhcp.ts'
import { ipText } from '#native/linux/addresses.ts'

const lease: Lease = {
  mac: 'a8:40:25:f0:00:05',
  ip: '172.30.0.5',
  gateway: '172.30.0.1',
  resolvers: ['8.8.8.8', '1.1.1.1'],
  hostname: 'guest',
  mtu: 1500,
}

/** A client's packet with these options, as bytes: code, length, data. */
function packet(
  options: readonly number[],
  change: (packet: Buffer) => void = () => undefined,
): Buffer {
  const head = Buffer.alloc(240)
  head.set([1, 1, 6])
  head.writeUInt32BE(0x12345678, 4)
  head.set(Buffer.from('a84025f00005', 'hex'), 28)
  head.writeUInt32BE(0x63825363, 236)
  change(head)
  return Buffer.concat([head, Buffer.from(options)])
}
const discover = [53, 1, 1, 255]
const request = (...address: readonly number[]): readonly number[] => [
  ...[53, 1, 3],
  ...(address.length === 0 ? [] : [50, 4, ...address]),
  255,
]

/** What the answer to a packet says, by option code. */
function told(given: Buffer, lent = lease) {
  const read = readRequest(given)
  const reply = read === null ? null : answer(read, lent)
  if (reply === null) return null
  const options = new Map<number, readonly number[]>()
  for (let at = 240; reply.packet[at] !== 255;) {
    const length = reply.packet.readUInt8(at + 1)
    options.set(reply.packet.readUInt8(at), [...reply.packet.subarray(at + 2, at + 2 + length)])
    at += 2 + length
  }
  return { ...reply, options }
}

test('a discovery is offered the address with everything that OPTE tells', () => {
  const offer = told(packet(discover))
  assert.ok(offer !== null)
  assert.equal(offer.packet.readUInt8(0), 2)
  assert.equal(offer.packet.readUInt32BE(4), 0x12345678)
  assert.equal(ipText(offer.packet.subarray(16, 20)), '172.30.0.5')
  assert.equal(offer.to, '172.30.0.5')
  assert.ok(offer.packet.length >= 300)
  assert.deepEqual(
    [...offer.options],
    [
      [53, [2]],
      [54, [172, 30, 0, 1]],
      [51, [0, 1, 0x51, 0x80]],
      [1, [255, 255, 255, 255]],
      [3, [172, 30, 0, 1]],
      [6, [8, 8, 8, 8, 1, 1, 1, 1]],
      [12, [...Buffer.from('guest')]],
      [26, [0x05, 0xdc]],
      [121, [32, 172, 30, 0, 1, 0, 0, 0, 0, 0, 172, 30, 0, 1]],
    ],
  )
})

test('a request for the own address, or for none in particular, is acknowledged', () => {
  assert.deepEqual(told(packet(request(172, 30, 0, 5)))?.options.get(53), [5])
  assert.deepEqual(told(packet(request()))?.options.get(53), [5])
  const renewal = packet(request(), (head) => head.set([172, 30, 0, 5], 12))
  assert.deepEqual(told(renewal)?.options.get(53), [5])
})

test('a request for another address is refused to everybody on the link', () => {
  const refusal = told(packet(request(10, 0, 0, 9)))
  assert.ok(refusal !== null)
  assert.deepEqual([...refusal.options.keys()], [53, 54])
  assert.deepEqual(refusal.options.get(53), [6])
  assert.equal(refusal.to, '255.255.255.255')
  assert.equal(refusal.packet.readUInt32BE(16), 0)
})

test('a client that hears only broadcasts is answered by one', () => {
  const deaf = packet(discover, (head) => head.writeUInt16BE(0x8000, 10))
  assert.equal(told(deaf)?.to, '255.255.255.255')
})

test('other MACs and the clients of other servers are not answered', () => {
  assert.equal(told(packet(discover, (head) => head.writeUInt8(0x99, 33))), null)
  assert.equal(told(packet([53, 1, 3, 54, 4, 10, 0, 0, 1, 255])), null)
  assert.notEqual(told(packet([53, 1, 3, 54, 4, 172, 30, 0, 1, 255])), null)
})

test('packets that are malformed or say nothing that we answer are ignored', () => {
  const bad: readonly Buffer[] = [
    Buffer.alloc(0),
    Buffer.alloc(240),
    Buffer.from('nonsense'),
    packet([]),
    packet([255]),
    packet([53]),
    packet([53, 1]),
    packet([53, 200, 1]),
    packet([53, 2, 1, 1, 255]),
    packet([53, 1, 7, 255]),
    packet([53, 1, 1, 12, 99, 1]),
    packet(discover, (head) => head.writeUInt8(2, 0)),
    packet(discover, (head) => head.writeUInt8(16, 2)),
    packet(discover, (head) => head.writeUInt32BE(0, 236)),
  ]
  for (const one of bad) assert.equal(readRequest(one), null, one.toString('hex'))
})

test('no packet whatever makes the reader throw', () => {
  // Options of every length at every place: a fixed walk instead of chance.
  for (let seed = 0; seed < 5_000; seed += 1) {
    const options = Array.from({ length: seed % 40 }, (_, at) => (seed * 31 + at * 17) % 256)
    const read = readRequest(packet([53, 1, 1 + (seed % 4), ...options]))
    if (read !== null) answer(read, lease)
  }
})

test('padding and no resolvers are fine', () => {
  const offer = told(packet([0, 0, 53, 1, 1, 0, 255]), { ...lease, resolvers: [], hostname: '' })
  assert.ok(offer !== null)
  assert.equal(offer.options.has(6), false)
  assert.equal(offer.options.has(12), false)
})
