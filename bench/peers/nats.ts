/** Request and reply over a NATS server: `nats.ts server|client OUTSTANDING PORT`, JSON inside. */
import { connect } from '@nats-io/transport-node'
import type { Entrant } from '../contestant.ts'
import type { Message } from '../messages.ts'
import { closedLoop, serveNothing, serveOrders } from './orders.ts'
import { assemble, freePort, missing, nodeProgram, Program } from './program.ts'

const actors = 1000
const timeout_ms = 30_000

/** A server of its own, one client that answers, one that asks; all three count. */
export function nats(outstanding: number): Entrant {
  const open = async () =>
    await assemble(async (started) => {
      const port = String(await freePort())
      // It does not watch its standard input: should we be killed, a signal ends it.
      const server = ['nats-server', '--addr', '127.0.0.1', '--port', port]
      started(new Program('setpriv', ['--pdeathsig', 'TERM', ...server], 'signal'))
      const args = [String(outstanding), port]
      await started(nodeProgram('peers/nats.ts', 'server', ...args)).ready()
      const client = started(nodeProgram('peers/nats.ts', 'client', ...args))
      await client.ready()
      return client
    })
  return { name: 'NATS', obstacle: () => missing('nats-server') ?? missing('setpriv'), open }
}

async function connection(port: number) {
  // The server may still be starting.
  const options = { reconnectTimeWait: 50, maxReconnectAttempts: 100, waitOnFirstConnect: true }
  return await connect({ servers: `127.0.0.1:${port}`, ...options })
}

async function serve(port: number): Promise<never> {
  const server = await connection(port)
  server.subscribe('actors.*', {
    callback: (error, message) => {
      if (error !== null) throw error
      message.respond(JSON.stringify(message.json()))
    },
  })
  await server.flush()
  return await serveOrders(serveNothing)
}

async function ask(outstanding: number, port: number): Promise<never> {
  const client = await connection(port)
  return await serveOrders(
    closedLoop({
      shape: 'small',
      outstanding,
      actors,
      ask: async (actor, message) => {
        const request = JSON.stringify(message)
        const reply = await client.request(`actors.${actor}`, request, { timeout: timeout_ms })
        return reply.json<Message<'small'>>()
      },
      attemptOf: ({ attempt }) => attempt,
    }),
  )
}

const [, , role, outstanding, port] = process.argv
if (import.meta.main) {
  await (role === 'server' ? serve(Number(port)) : ask(Number(outstanding), Number(port)))
}
