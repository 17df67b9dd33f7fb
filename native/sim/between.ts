/** How a sim sled is asked by another one: a unix socket in its state, a request and an answer in JSON. */
import { rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'

/** Answers at a path, for as long as the process lives, or until it is closed. */
export class Responder {
  readonly path: string
  readonly #answer: (request: unknown) => unknown
  #server: Promise<Server> | null = null

  constructor(path: string, answer: (request: unknown) => unknown) {
    this.path = path
    this.#answer = answer
  }

  /** Opens when first needed. Throws what the system says. */
  async open(): Promise<void> {
    this.#server ??= this.#listen()
    await this.#server
  }

  close(): void {
    void this.#server?.then((server) => server.close())
    this.#server = null
  }

  async #listen(): Promise<Server> {
    // What a killed process left there answers nobody.
    rmSync(this.path, { force: true })
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      void this.#serve(socket)
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(this.path, resolve)
    await promise
    server.unref()
    return server
  }

  async #serve(socket: Socket): Promise<void> {
    try {
      const request: unknown = JSON.parse(await wholeOf(socket))
      socket.end(JSON.stringify(this.#answer(request)))
    } catch {
      // Whoever asked has gone, or asked for nothing that makes sense.
      socket.destroy()
    }
  }
}

/** Asks whoever answers at a path. Throws when nobody does. */
export async function ask(path: string, request: unknown): Promise<unknown> {
  const socket = createConnection(path)
  socket.end(JSON.stringify(request))
  return JSON.parse(await wholeOf(socket))
}

/** All that the other end says until it has ended; the socket can still be written to. */
async function wholeOf(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let said = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    said += text
  })
  socket.on('end', () => {
    resolve(said)
  })
  socket.on('error', reject)
  return await promise
}
