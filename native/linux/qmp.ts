/** QEMU's machine protocol over its unix socket: commands with time limits, and events. */
import { createConnection, type Socket } from 'node:net'
import { Type } from 'typebox'
import { fits } from '#runtime/schema.ts'

export interface QmpEvent {
  readonly name: string
  readonly data: Readonly<Record<string, unknown>>
}
interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}
const command_ms_max = 10_000
const line_bytes_max = 4 * 1024 * 1024

const message = Type.Object({
  QMP: Type.Optional(Type.Unknown()),
  id: Type.Optional(Type.Integer()),
  return: Type.Optional(Type.Unknown()),
  error: Type.Optional(Type.Object({ class: Type.String(), desc: Type.String() })),
  event: Type.Optional(Type.String()),
  data: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})

export class Qmp {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #onEvent: (event: QmpEvent) => void
  readonly #onClose: () => void
  readonly #greeted = Promise.withResolvers<void>()
  #next = 1
  #held = ''
  #closed: Error | null = null

  private constructor(
    socket: Socket,
    on: { readonly event: (event: QmpEvent) => void; readonly close: () => void },
  ) {
    this.#socket = socket
    this.#onEvent = on.event
    this.#onClose = on.close
    this.#greeted.promise.catch(() => undefined)
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => {
      this.#read(text)
    })
    socket.once('error', (error) => {
      this.#end(new Error('QMP broke', { cause: error }))
    })
    socket.once('close', () => {
      this.#end(new Error('QEMU closed QMP'))
    })
  }

  /** Connects, waits for the greeting and leaves negotiation mode. Rejects when it is not QMP. */
  static async connect(
    path: string,
    on: { readonly event: (event: QmpEvent) => void; readonly close: () => void },
  ): Promise<Qmp> {
    const qmp = new Qmp(createConnection({ path }), on)
    const timer = setTimeout(() => {
      qmp.#end(new Error(`no QMP greeting at ${path}`))
    }, command_ms_max)
    try {
      await qmp.#greeted.promise
      await qmp.execute('qmp_capabilities')
      return qmp
    } finally {
      clearTimeout(timer)
    }
  }

  /** Runs a command. Rejects with QEMU's own words when it refuses, or when it does not answer. */
  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    if (this.#closed !== null) throw this.#closed
    const id = this.#next
    this.#next += 1
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    const timer = setTimeout(() => {
      waiting.reject(new Error(`QEMU does not answer ${command}`))
    }, command_ms_max)
    try {
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
      return await waiting.promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  close(): void {
    this.#end(new Error('we hung up'))
  }

  #end(why: Error): void {
    if (this.#closed !== null) return
    this.#closed = why
    this.#socket.destroy()
    this.#greeted.reject(why)
    for (const { reject } of this.#waiting.values()) reject(why)
    this.#onClose()
  }

  #read(text: string): void {
    this.#held += text
    if (this.#held.length > line_bytes_max) {
      this.#end(new Error('a QMP line without end'))
      return
    }
    const lines = this.#held.split('\n')
    this.#held = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') this.#take(line)
  }

  #take(line: string): void {
    let read: unknown
    try {
      read = JSON.parse(line)
    } catch (cause) {
      this.#end(new Error('QMP spoke no JSON', { cause }))
      return
    }
    if (!fits(message, read)) {
      this.#end(new Error('QMP spoke nonsense'))
    } else if (read.event !== undefined) {
      this.#onEvent({ name: read.event, data: read.data ?? {} })
    } else if (read.id === undefined) {
      if (read.QMP !== undefined) this.#greeted.resolve()
    } else if (read.error === undefined) {
      this.#waiting.get(read.id)?.resolve(read.return)
    } else {
      const { class: kind, desc } = read.error
      this.#waiting.get(read.id)?.reject(new Error(`QEMU refuses: ${desc} (${kind})`))
    }
  }
}
