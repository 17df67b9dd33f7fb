/**
 * Who asks: `client.ts CONNECTIONS PATHS TARGETS`: paths that are asked for in turn, and servers
 * (`http://host:port`) that the connections are spread over, each list separated by spaces. Plain sockets
 * that are kept, one request outstanding on each: little enough that the server is what is measured.
 * Every answer must be a whole 200.
 */
import { connect, type Socket } from 'node:net'
import { serveOrders, type Work } from '../peers/orders.ts'
import { token } from './data.ts'

const endOfHead = Buffer.from('\r\n\r\n')

/** One connection: asks, and waits for the whole of the answer. */
class Connection {
  readonly #socket: Socket
  #heard: Buffer = Buffer.alloc(0)
  #wanted: { resolve: (body: Buffer) => void; reject: (error: Error) => void } | null = null

  constructor(target: URL) {
    this.#socket = connect(Number(target.port), target.hostname)
    this.#socket.setNoDelay(true)
    this.#socket.on('data', (data: Buffer) => {
      this.#heard = this.#heard.length === 0 ? data : Buffer.concat([this.#heard, data])
      this.#look()
    })
    const lost = (error?: Error) => this.#wanted?.reject(error ?? new Error('the server hung up'))
    this.#socket.on('error', lost)
    this.#socket.on('close', () => lost())
  }

  async ask(path: string): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    this.#wanted = { resolve, reject }
    this.#socket.write(
      `GET ${path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer oxide-token-${token}\r\n\r\n`,
    )
    return await promise
  }

  #look(): void {
    const head = this.#heard.indexOf(endOfHead)
    if (head === -1) return
    const text = this.#heard.toString('latin1', 0, head)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1])
    const end = head + endOfHead.length + length
    if (this.#heard.length < end) return
    const body = this.#heard.subarray(end - length, end)
    this.#heard = this.#heard.subarray(end)
    if (text.startsWith('HTTP/1.1 200')) this.#wanted?.resolve(body)
    else this.#wanted?.reject(new Error(`${text}\n${body.toString()}`))
  }
}

function load(connections: readonly Connection[], paths: readonly string[]): Work {
  return async (operations) => {
    const samples: number[] = []
    let left = operations
    const began = performance.now()
    await Promise.all(
      connections.map(async (connection) => {
        while (left > 0) {
          left -= 1
          const asked = performance.now()
          const body = await connection.ask(paths[left % paths.length] ?? '')
          samples.push(performance.now() - asked)
          if (body.length < 2 || body.at(-1) !== 0x7d) throw new Error('an answer is not whole')
        }
      }),
    )
    const wall_ns = (performance.now() - began) * 1e6
    if (samples.length !== operations) throw new Error(`${samples.length} answers to ${operations}`)
    samples.sort((a, b) => a - b)
    const at_ns = (share: number) => (samples[Math.floor(samples.length * share)] ?? 0) * 1e6
    return { operations, wall_ns, p50_ns: at_ns(0.5), p99_ns: at_ns(0.99), bytes: null }
  }
}

const [, , count, paths = '', given = ''] = process.argv
const targets = given.split(' ').map((target) => new URL(target))
const connections = Array.from({ length: Number(count) }, (_, index) => {
  const target = targets[index % targets.length]
  if (target === undefined) throw new Error('usage: client.ts CONNECTIONS PATHS TARGETS')
  return new Connection(target)
})
await serveOrders(load(connections, paths.split(' ')))
