/**
 * How long a call of one host waits while another one misbehaves: `attacked.ts server|attacker|client …`.
 * Three processes; what counts is the client's worst call.
 */
import { createConnection } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { codecOf } from '#runtime/codec/codec.ts'
import { systemClock } from '#runtime/clock.ts'
import { kinds } from '#runtime/wire/frame.ts'
import { bindFrame, frame, helloFrame } from '#test/kit/frames.ts'
import type { Entrant } from '../contestant.ts'
import { type Message, messages } from '../messages.ts'
import { serveNothing, serveOrders } from '../peers/orders.ts'
import { assemble, nodeProgram } from '../peers/program.ts'
import { asker, attemptOf, echoProtocol } from './echo.ts'
import { listenAs, reach, type Where } from './hosts.ts'

const file = 'runtime/attacked.ts'
/** Between two calls of the client, so that a round lasts for many turns of the attack. */
const pause_ms = 1

/** `none`: nobody misbehaves. */
export const attacked = (attack: keyof typeof attacks): Entrant => ({
  name: 'luge',
  obstacle: () => null,
  open: async () =>
    await assemble(async (started) => {
      const where = await started(nodeProgram(file, 'server', attack)).ready()
      await started(nodeProgram(file, 'attacker', attack, where)).ready()
      const asking = started(nodeProgram(file, 'client', where))
      await asking.ready()
      return asking
    }),
})

type Attack = (port: number) => void

const list = codecOf(echoProtocol.messages.numbers.request)
const small = codecOf(echoProtocol.messages.small.request)
const text = codecOf(Type.String())
const aList = Array.from({ length: limits.message_items_max }, () => 1)

/** Speaks like a host until it is closed, and then again: `say` writes while the socket takes it. */
function speak(port: number, say: (sequence: number) => Buffer): void {
  const socket = createConnection({ host: '127.0.0.1', port })
  let sequence = 2
  const write = () => {
    sequence += 1
    while (!socket.destroyed && socket.write(say(sequence))) sequence += 1
  }
  socket.on('error', () => undefined)
  socket.on('close', () => setTimeout(speak, 10, port, say))
  socket.resume()
  socket.write(helloFrame(`attacker-${Math.random()}`, [echoProtocol]))
  socket.write(bindFrame(2, 0, ['', 'echo', 'victim']))
  socket.on('drain', write)
  write()
}

const cast = (op: number, codec: typeof text, value: unknown) => (sequence: number) =>
  frame({ kind: kinds.cast, op, target: 0, sequence }, codec, value)
const { small: smallRow, numbers } = echoProtocol.messages

const attacks = {
  none: () => undefined,
  calls: (port) => {
    const next = messages('small')
    speak(port, (sequence) => cast(smallRow.op, small, next())(sequence))
  },
  lists: (port) => {
    speak(port, cast(numbers.op, list, aList))
  },
  /** As large as a frame may be, and not what the row wants. */
  frames: (port) => {
    speak(port, cast(smallRow.op, text, 'x'.repeat(limits.frame_bytes_max / 4)))
  },
  noise: (port) => {
    const knock = () => {
      const socket = createConnection({ host: '127.0.0.1', port })
      socket.on('error', () => undefined)
      socket.on('close', () => setImmediate(knock))
      socket.write(Buffer.alloc(65_536, 0x5a))
    }
    for (let at = 0; at < 8; at += 1) knock()
  },
  handshakes: (port) => {
    const knock = () => {
      // Without a certificate: refused once the server has done its part.
      const socket = connectSecurely({ host: '127.0.0.1', port, rejectUnauthorized: false })
      socket.on('error', () => undefined)
      socket.on('close', () => setImmediate(knock))
    }
    for (let at = 0; at < 8; at += 1) knock()
  },
} as const satisfies Readonly<Record<string, Attack>>

async function client(where: Where): Promise<never> {
  const system = await reach(where)
  const ask = asker(system, 'small', { host: 'server-0', actors: 1 })
  const next = messages('small')
  return await serveOrders(async (operations) => {
    const took_ms: number[] = []
    const began = performance.now()
    for (let at = 0; at < operations; at += 1) {
      await systemClock.sleep(pause_ms)
      const message: Message<'small'> = next()
      const asked = performance.now()
      if (attemptOf(await ask(0, message)) !== message.attempt) throw new Error('another answer')
      took_ms.push(performance.now() - asked)
    }
    const wall_ns = (performance.now() - began) * 1e6
    took_ms.sort((a, b) => a - b)
    const at_ns = (share: number) => (took_ms[Math.floor(operations * share)] ?? 0) * 1e6
    const max_ns = (took_ms.at(-1) ?? 0) * 1e6
    return { operations, wall_ns, p50_ns: at_ns(0.5), p99_ns: at_ns(0.99), bytes: null, max_ns }
  })
}

if (import.meta.main) {
  const [, , role, first = '', second = ''] = process.argv
  if (role === 'server') {
    const where = await listenAs(['server-0'], first === 'handshakes' ? 'tls' : 'plain')
    await serveOrders(serveNothing, JSON.stringify(where))
  } else if (role === 'attacker') {
    const [port = 0] = (JSON.parse(second) as Where).ports
    attacks[first as keyof typeof attacks](port)
    await serveOrders(serveNothing)
  } else {
    await client(JSON.parse(first) as Where)
  }
}
