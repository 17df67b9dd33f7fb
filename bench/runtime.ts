/** What a message costs: in one thread, and across two hosts' links against HTTP with JSON. */
import { createServer } from 'node:http'
import { request } from 'undici'
import { Type } from 'typebox'
import { behaviour } from '#runtime/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { call, protocol } from '#runtime/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/system.ts'
import { connector, Links } from '#runtime/wire/link.ts'
import type { Harness } from './harness.ts'

const payload = Type.Object({ id: Type.String(), size: Type.Integer(), attempt: Type.Integer() })
const echoProtocol = protocol('echo', 1, {
  echo: call(1, { request: payload, reply: payload, errors: [], idempotent: true }),
})
const echo = behaviour({
  protocol: echoProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 4096,
    thread: 'main',
    activation: 'by_id',
  },
  init: () => null,
  invariant: () => undefined,
  handlers: { echo: (_context, state, message) => ({ state, result: ok(message) }) },
})
const message = { id: '3f2c1e0a-7b6d-4c5e-9f80-112233445566', size: 1 << 30, attempt: 1 }
const rounds = 7
const asks = 4_000
const outstanding = 64
const options = { timeout_ms: 10_000 }

export async function run(harness: Harness): Promise<void> {
  await local(harness)
  await acrossHosts(harness)
}

/** Microseconds an operation, `outstanding` of them at a time. */
async function perOperation(count: number, operation: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  let left = count
  await Promise.all(
    Array.from({ length: outstanding }, async () => {
      while (left > 0) {
        left -= 1
        await operation()
      }
    }),
  )
  return ((performance.now() - began) * 1000) / count
}

function makeSystem(host: string, toHost: (host: string) => ReturnType<Links['to']>): System {
  return new System({
    host,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    routes: {},
    toThread: () => null,
    toHost,
  })
}

async function local(harness: Harness): Promise<void> {
  const system = makeSystem('here', () => null)
  system.add(echo, null)
  const ref = system.ref(echoProtocol, 'one')
  await harness.compare('ask in one thread', {
    unit: 'µs',
    rounds,
    candidates: {
      luge: async () =>
        await perOperation(asks, async () => await ref.call('echo', message, options)),
      structuredClone: async () =>
        await perOperation(asks, async () => await Promise.resolve(structuredClone(message))),
    },
  })
  await system.stop()
}

async function acrossHosts(harness: Harness): Promise<void> {
  const serving = makeLinked('server')
  serving.system.add(echo, null)
  const asking = makeLinked('client')
  const port = await freePort()
  await serving.links.listen({ host: '127.0.0.1', port })
  const isUp = Promise.withResolvers<void>()
  asking.onUp(() => {
    isUp.resolve()
  })
  asking.links.dial('server', connector({ host: '127.0.0.1', port }))
  await isUp.promise
  const ref = asking.system.ref(echoProtocol, 'one', 'server')
  const http = await jsonServer()
  const body = JSON.stringify(message)
  try {
    await harness.compare('ask over one TCP link, 64 outstanding', {
      unit: 'µs',
      rounds,
      candidates: {
        luge: async () =>
          await perOperation(asks, async () => await ref.call('echo', message, options)),
        'undici HTTP JSON': async () =>
          await perOperation(asks, async () => {
            const answer = await request(http.url, { method: 'POST', body })
            return await answer.body.json()
          }),
      },
    })
  } finally {
    asking.links.close()
    serving.links.close()
    http.close()
  }
}

function makeLinked(host: string) {
  let up: (() => void) | null = null
  const links: Links = new Links({
    host,
    clock: systemClock,
    log: memoryLog(),
    exports: [echoProtocol],
    serve: () => system,
    security: null,
    onPeer: () => {
      up?.()
    },
  })
  const system: System = makeSystem(host, (peer) => links.to(peer))
  const onUp = (callback: () => void) => {
    up = callback
  }
  return { links, system, onUp }
}

async function freePort(): Promise<number> {
  const server = await jsonServer()
  server.close()
  return Number(new URL(server.url).port)
}

async function jsonServer(): Promise<{ readonly url: string; readonly close: () => void }> {
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const value: unknown = JSON.parse(Buffer.concat(chunks).toString())
      response.setHeader('content-type', 'application/json').end(JSON.stringify(value))
    })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', () => {
    resolve()
  })
  await promise
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return {
    url: `http://127.0.0.1:${address.port}/`,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
