/**
 * An authoritative DNS server for one zone, over UDP and TCP (RFC 1035, 7766, 6891). It answers the
 * type that was asked for; SRV answers carry their targets' addresses. Anything malformed is
 * answered FORMERR when it has a header to answer to, else dropped and counted.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import {
  decode,
  encode,
  AUTHORITATIVE_ANSWER,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
  type Answer,
  type OptAnswer,
  type Packet,
  type Question,
} from 'dns-packet'

export type ZoneRecord =
  | { readonly type: 'AAAA'; readonly data: string }
  | {
      readonly type: 'SRV'
      readonly data: {
        readonly prio: number
        readonly weight: number
        readonly port: number
        readonly target: string
      }
    }
export interface Zone {
  /** Without a trailing dot. */
  readonly name: string
  readonly serial: number
  /** By full name, lower case, without a trailing dot. */
  readonly records: ReadonlyMap<string, readonly ZoneRecord[]>
}

const rcodes = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const
const plain_udp_bytes = 512
/** What we say we take and the most we send over UDP: below any path's fragmentation. */
const edns_udp_bytes = 1232
const tcp_idle_ms = 10_000
const tcp_connections_max = 256

/** The answer to one packet; null when there is nothing to answer to. */
export function answerPacket(zone: Zone | null, packet: Buffer, isTcp: boolean): Buffer | null {
  if (packet.length < 12 || (packet.readUInt16BE(2) & 0x8000) !== 0) return null
  const id = packet.readUInt16BE(0)
  const opcode = (packet.readUInt16BE(2) >> 11) & 0xf
  if (opcode !== 0) return encode(response(id, 0, rcodes.NOTIMP, {}))
  try {
    const query = decode(packet)
    const opt = query.additionals?.find(isOpt)
    const full = encode(withOpt(replyTo(zone, query, id), opt))
    if (full.length <= (isTcp ? 65_535 : udpLimit(opt))) return full
    return encode(withOpt(cutShort(replyTo(zone, query, id)), opt))
  } catch {
    // Whatever the decoder or the encoder cannot make sense of was not a proper question.
    return encode(response(id, 0, rcodes.FORMERR, {}))
  }
}

function replyTo(zone: Zone | null, query: Packet, id: number): Packet {
  const desired = (query.flags ?? 0) & RECURSION_DESIRED
  const [question, ...more] = query.questions ?? []
  return question === undefined || more.length > 0
    ? response(id, desired, rcodes.FORMERR, {})
    : resolve(zone, question, id, desired)
}

function cutShort(reply: Packet): Packet {
  const { answers: _answers, additionals: _additionals, ...rest } = reply
  return { ...rest, flags: (reply.flags ?? 0) | TRUNCATED_RESPONSE }
}

const isOpt = (answer: Answer): answer is OptAnswer => answer.type === 'OPT'

const udpLimit = (opt: OptAnswer | undefined) =>
  opt === undefined
    ? plain_udp_bytes
    : Math.min(edns_udp_bytes, Math.max(plain_udp_bytes, opt.udpPayloadSize))

function withOpt(reply: Packet, asked: OptAnswer | undefined): Packet {
  if (asked === undefined) return reply
  const opt: OptAnswer = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: edns_udp_bytes,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  }
  return { ...reply, additionals: [...(reply.additionals ?? []), opt] }
}

function response(id: number, desired: number, rcode: number, parts: Partial<Packet>): Packet {
  return { type: 'response', id, flags: desired | rcode, ...parts }
}

function resolve(zone: Zone | null, question: Question, id: number, desired: number): Packet {
  const name = question.name.toLowerCase().replace(/\.$/, '')
  const questions = [question]
  if (zone === null || (name !== zone.name && !name.endsWith(`.${zone.name}`))) {
    return response(id, desired, rcodes.REFUSED, { questions })
  }
  const authoritative = desired | AUTHORITATIVE_ANSWER
  const found = recordsAt(zone, name)
  const soa = soaOf(zone)
  if (found === null) {
    return response(id, authoritative, rcodes.NXDOMAIN, { questions, authorities: [soa] })
  }
  // The library's type leaves ANY (255) out although it decodes it.
  const asked: string = question.type
  const wanted = found.filter(({ type }) => asked === 'ANY' || type === asked)
  if (wanted.length === 0) {
    return response(id, authoritative, rcodes.NOERROR, { questions, authorities: [soa] })
  }
  return response(id, authoritative, rcodes.NOERROR, {
    questions,
    answers: wanted,
    additionals: glue(zone, wanted),
  })
}

/** Null: the name does not exist. Empty: it exists and holds nothing (it has names below it). */
function recordsAt(zone: Zone, name: string): Answer[] | null {
  if (name === zone.name) {
    return [soaOf(zone), { type: 'NS', name, ttl: 0, data: `ns.${zone.name}` }]
  }
  const records = zone.records.get(name)
  if (records !== undefined) return records.map((record) => toAnswer(name, record))
  const below = `.${name}`
  return [...zone.records.keys()].some((other) => other.endsWith(below)) ? [] : null
}

function toAnswer(name: string, record: ZoneRecord): Answer {
  if (record.type === 'AAAA') return { type: 'AAAA', name, ttl: 0, data: record.data }
  const { prio, weight, port, target } = record.data
  return { type: 'SRV', name, ttl: 0, data: { priority: prio, weight, port, target } }
}

function glue(zone: Zone, answers: readonly Answer[]): Answer[] {
  const targets = new Set(
    answers.flatMap((answer) => (answer.type === 'SRV' ? [answer.data.target.toLowerCase()] : [])),
  )
  return [...targets].flatMap((target) =>
    (zone.records.get(target) ?? [])
      .filter((record) => record.type === 'AAAA')
      .map((record) => toAnswer(target, record)),
  )
}

function soaOf(zone: Zone): Answer {
  return {
    type: 'SOA',
    name: zone.name,
    ttl: 0,
    data: {
      mname: `ns.${zone.name}`,
      rname: `admin.${zone.name}`,
      serial: zone.serial % 2 ** 32,
      refresh: 3_600,
      retry: 600,
      expire: 86_400,
      minimum: 0,
    },
  }
}

/** Where to listen. Port 0 takes a free one. */
export interface DnsListen {
  readonly address: string
  readonly port: number
}

export interface DnsServer {
  readonly port: number
  /** Packets that were dropped because nothing could be answered. */
  readonly dropped: () => number
  readonly setZone: (zone: Zone) => void
  readonly close: () => Promise<void>
}

/** Serves until closed. Rejects when the address is taken or not there. */
export async function serveDns(listen: DnsListen): Promise<DnsServer> {
  let zone: Zone | null = null
  let dropped = 0
  const reply = (packet: Buffer, isTcp: boolean) => {
    const answer = answerPacket(zone, packet, isTcp)
    if (answer === null) dropped += 1
    return answer
  }
  const udp = createSocket(listen.address.includes(':') ? 'udp6' : 'udp4')
  udp.on('message', (packet, from) => {
    const answer = reply(packet, false)
    // A reply that cannot be sent is the same as one lost on the way.
    if (answer !== null) udp.send(answer, from.port, from.address, () => undefined)
  })
  const tcp = createServer((socket) => {
    serveTcp(socket, (packet) => reply(packet, true))
  })
  tcp.maxConnections = tcp_connections_max
  const port = await bind(udp, tcp, listen)
  return {
    port,
    dropped: () => dropped,
    setZone: (next) => {
      zone = next
    },
    close: async () => {
      udp.close()
      tcp.close()
      await Promise.resolve()
    },
  }
}

async function bind(udp: UdpSocket, tcp: Server, listen: DnsListen): Promise<number> {
  const bound = Promise.withResolvers<void>()
  udp.once('error', bound.reject)
  udp.bind(listen.port, listen.address, () => {
    bound.resolve()
  })
  await bound.promise
  udp.on('error', () => undefined)
  const { port } = udp.address()
  const listening = Promise.withResolvers<void>()
  tcp.once('error', (error) => {
    udp.close()
    listening.reject(error)
  })
  tcp.listen(port, listen.address, () => {
    listening.resolve()
  })
  await listening.promise
  return port
}

function serveTcp(socket: Socket, reply: (packet: Buffer) => Buffer | null): void {
  let held = Buffer.alloc(0)
  socket.setTimeout(tcp_idle_ms, () => {
    socket.destroy()
  })
  socket.on('error', () => {
    socket.destroy()
  })
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk])
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const length = held.readUInt16BE(0)
      const answer = reply(held.subarray(2, 2 + length))
      held = held.subarray(2 + length)
      if (answer === null) {
        socket.destroy()
        return
      }
      const prefix = Buffer.alloc(2)
      prefix.writeUInt16BE(answer.length, 0)
      if (!socket.write(Buffer.concat([prefix, answer]))) {
        // A client that asks and never reads is not worth a buffer.
        socket.pause()
        socket.once('drain', () => {
          socket.resume()
        })
      }
    }
  })
}
