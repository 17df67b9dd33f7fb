/** JSON over HTTP: `http.ts server` on node:http, `http.ts client OUTSTANDING URL` with undici. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Pool } from 'undici'
import type { Message } from '../messages.ts'
import { closedLoop, serveNothing, serveOrders } from './orders.ts'

const actors = 1000
const connections = 16

async function serve(): Promise<never> {
  const server = createServer((incoming, response) => {
    let text = ''
    incoming.setEncoding('utf8')
    incoming.on('data', (part: string) => (text += part))
    incoming.on('end', () => {
      const body = JSON.stringify(JSON.parse(text))
      const headers = {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      }
      response.writeHead(200, headers).end(body)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return await serveOrders(serveNothing, `http://127.0.0.1:${address.port}`)
}

async function ask(outstanding: number, url: string): Promise<never> {
  const pool = new Pool(url, { connections, pipelining: 1 })
  const headers = { 'content-type': 'application/json' }
  return await serveOrders(
    closedLoop({
      shape: 'small',
      outstanding,
      actors,
      ask: async (actor, message) => {
        const body = JSON.stringify(message)
        const path = `/actors/${actor}`
        const response = await pool.request({ path, method: 'POST', headers, body })
        return (await response.body.json()) as Message<'small'>
      },
      attemptOf: ({ attempt }) => attempt,
    }),
  )
}

const [, , role, outstanding, url = ''] = process.argv
await (role === 'server' ? serve() : ask(Number(outstanding), url))
