/**
 * A guest's way from one sled's QEMU to another's. The source's supervisor answers on a unix socket of its
 * state: it has its QEMU send the guest to it and passes the stream on, and then gives the console's
 * history. So no guest's zone sees anything of another sled. Neither QEMU lets the guest run afterwards
 * before it is told to.
 *
 *   QEMU ── out.sock ── source ── guests.sock ── target ── in.sock ── QEMU -incoming
 *
 * An answer begins with a line of JSON: how many bytes follow, null for as many as come, or why none do.
 */
import { once } from 'node:events'
import { createReadStream, rmSync, statSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type, type Static } from 'typebox'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { instanceDirectory } from './qemu.ts'
import type { Qmp } from './qmp.ts'

// No longer than the sockets that are there anyway: a socket's path has its limit.
const outgoing = 'out.sock'
const incoming = 'in.sock'
const poll_ms = 10
const request_bytes_max = 1_024
const line_bytes_max = 4_096

const request = Type.Object({
  what: Type.Enum(['memory', 'console']),
  instance_id: Type.String(),
  migration_id: Type.String(),
  propolis_id: Type.String(),
})
type Request = Static<typeof request>
const head = Type.Union([
  Type.Object({ bytes: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]) }),
  Type.Object({ why: Type.String() }),
])
type Head = Static<typeof head>

/** A guest that is here: its monitor, and the directory that its zone sees. */
export interface HandedGuest {
  readonly propolis_id: string
  readonly qmp: Qmp
  readonly directory: string
}
/** One that may be taken over. */
interface OfferedGuest extends HandedGuest {
  /**
   * Whether it runs on while its memory goes. Under TCG it must not: QEMU (7.2) misses writes to pages that
   * it has just sent, and what arrives is a guest whose memory is partly older than the rest.
   */
  readonly runsOn: boolean
}

/** What other sleds may take over from this one. */
export class Handover {
  readonly path: string
  readonly #guestOf: (instance_id: string) => Promise<OfferedGuest | null>
  readonly #offers = new Map<string, string>()
  #server: Promise<Server> | null = null

  /** `path`: of the unix socket; `guestOf`: a guest of this sled, null when there is none. */
  constructor(path: string, guestOf: (instance_id: string) => Promise<OfferedGuest | null>) {
    this.path = path
    this.#guestOf = guestOf
  }

  /** Lets one migration have a guest, for as long as this process lives or until `withdraw`. */
  async offer(instance_id: string, migration_id: string): Promise<void> {
    this.#server ??= listen(this.path, (socket) => {
      void this.#serve(socket)
    })
    await this.#server
    this.#offers.set(instance_id, migration_id)
  }

  withdraw(instance_id: string): void {
    this.#offers.delete(instance_id)
  }

  close(): void {
    this.#offers.clear()
    void this.#server?.then((server) => server.close())
    this.#server = null
  }

  async #serve(socket: Socket): Promise<void> {
    try {
      const asked = await readRequest(socket)
      const { instance_id, migration_id, propolis_id } = asked
      const guest = await this.#guestOf(instance_id)
      const isOffered = this.#offers.get(instance_id) === migration_id
      if (!isOffered || guest?.propolis_id !== propolis_id) throw new Error('it is not offered')
      if (asked.what === 'console') {
        await giveConsole(guest, socket)
        return
      }
      try {
        await giveMemory(guest, socket)
      } finally {
        // Nobody has it, or it was told to go on while it had not even begun to leave.
        const hasLeft = (await migrationOf(guest.qmp)) === 'completed'
        if (!hasLeft || this.#offers.get(instance_id) !== migration_id) await goOn(guest.qmp)
      }
    } catch (error) {
      // Where the answer has begun, its end says enough.
      if (socket.bytesWritten === 0) socket.end(lineOf({ why: explain(error) }))
      else socket.destroy()
    }
  }
}

async function listen(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  // What a killed process left there answers nobody.
  rmSync(path, { force: true })
  const server = createServer({ allowHalfOpen: true }, onConnection)
  server.listen(path)
  await once(server, 'listening')
  server.unref()
  return server
}

async function readRequest(socket: Socket): Promise<Request> {
  socket.on('error', () => {
    socket.destroy()
  })
  let text = ''
  for await (const data of socket.iterator({ destroyOnReturn: false })) {
    text += String(data)
    if (text.length > request_bytes_max) throw new Error('a request without end')
  }
  const read: unknown = JSON.parse(text)
  if (!fits(request, read)) throw new Error('no request')
  return read
}

/** Has QEMU send the guest here, and passes it on. */
async function giveMemory({ qmp, directory, runsOn }: OfferedGuest, socket: Socket): Promise<void> {
  const path = join(directory, outgoing)
  const arrived = Promise.withResolvers<Socket>()
  const server = await listen(path, arrived.resolve)
  try {
    await goOn(qmp)
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth_bytes_max })
    await qmp.execute('migrate-set-capabilities', { capabilities: [slowsDown] })
    if (!runsOn) await qmp.execute('stop')
    await qmp.execute('migrate', { uri: `unix:${instanceDirectory}/${outgoing}` })
    const timer = AbortSignal.timeout(limits.zone_boot_ms_max)
    timer.addEventListener('abort', () => {
      arrived.reject(new Error('QEMU sends nothing'))
    })
    const guest = await arrived.promise
    socket.write(lineOf({ bytes: null }))
    await pipeline(guest, socket)
  } finally {
    server.close()
    rmSync(path, { force: true })
  }
}

/** The machine's own: no other guest's traffic is on a unix socket. */
const bandwidth_bytes_max = 16 * 1024 ** 3

/** A guest that writes faster than it can be sent gets less and less of its processors, until it can. */
const slowsDown = { capability: 'auto-converge', state: true } as const

/** Gives what the console has said: when the guest has left, so that it says no more. */
async function giveConsole({ qmp, directory }: HandedGuest, socket: Socket): Promise<void> {
  if ((await migrationOf(qmp)) !== 'completed') throw new Error('the guest has not left')
  const log = join(directory, 'serial.log')
  const { size } = statSync(log)
  socket.write(lineOf({ bytes: size }))
  await pipeline(createReadStream(log), socket)
}

/** Has a guest run, whether it was to leave, has left, or has come: what is still on its way is called back. */
export async function goOn(qmp: Qmp): Promise<void> {
  for (let waited_ms = 0; waited_ms < limits.zone_boot_ms_max; waited_ms += poll_ms) {
    const status = await migrationOf(qmp)
    if (status === null || over.has(status)) {
      await qmp.execute('cont')
      return
    }
    if (status !== 'cancelling') await qmp.execute('migrate_cancel')
    await sleep(poll_ms)
  }
  throw new Error('an earlier migration does not end')
}

const over: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled'])
const migration = Type.Object({ status: Type.Optional(Type.String()) })

/** What QEMU says of its last migration; null: there was none. */
async function migrationOf(qmp: Qmp): Promise<string | null> {
  const said = await qmp.execute('query-migrate')
  if (!fits(migration, said)) throw new Error('QEMU answers query-migrate with nonsense')
  return said.status ?? null
}

/**
 * Takes a guest over into a QEMU that waits for one. When this returns it stands still on both sleds, and
 * the console's history is here. Throws when the source has gone, or QEMU has.
 */
export async function takeOver(
  guest: HandedGuest,
  from: { readonly address: string } & Omit<Request, 'what'>,
  signal: AbortSignal,
): Promise<void> {
  const { address, ...named } = from
  const path = join(guest.directory, incoming)
  rmSync(path, { force: true })
  await guest.qmp.execute('migrate-incoming', { uri: `unix:${instanceDirectory}/${incoming}` })
  const { source } = await ask(address, { what: 'memory', ...named })
  // QEMU hangs up as soon as it has all: only itself knows whether it has.
  await pipeline(source, createConnection(path), { signal }).catch(() => undefined)
  rmSync(path, { force: true })
  await arrive(guest.qmp, signal)
  const history = await ask(address, { what: 'console', ...named })
  const said = await buffer(history.source)
  if (said.length !== history.bytes) throw new SourceGone('its console is not whole')
  await appendFile(join(guest.directory, 'serial.log'), said)
}

/** Nobody offers the guest any more. */
export class SourceGone extends Error {
  override readonly name = 'SourceGone'
}

const lineOf = (first: Head): string => `${JSON.stringify(first)}\n`

/** Asks a source; what follows its first line is still to be read. Throws SourceGone when it gives nothing. */
async function ask(
  address: string,
  asked: Request,
): Promise<{ readonly source: Socket; readonly bytes: number | null }> {
  const source = createConnection({ path: address, allowHalfOpen: true })
  source.end(JSON.stringify(asked))
  try {
    const first: unknown = JSON.parse(await firstLine(source))
    if (!fits(head, first)) throw new Error('it answers with nonsense')
    if ('why' in first) throw new Error(first.why)
    return { source, bytes: first.bytes }
  } catch (error) {
    source.destroy()
    throw new SourceGone(explain(error))
  }
}

async function firstLine(source: Socket): Promise<string> {
  let held = Buffer.alloc(0)
  for await (const data of source.iterator({ destroyOnReturn: false })) {
    const chunk: unknown = data
    if (!Buffer.isBuffer(chunk)) break
    held = Buffer.concat([held, chunk])
    const end = held.indexOf('\n')
    if (end !== -1) {
      source.unshift(held.subarray(end + 1))
      return held.subarray(0, end).toString()
    }
    if (held.length > line_bytes_max) break
  }
  throw new Error('it says nothing')
}

/** Waits until QEMU has made a guest of what it was sent. */
async function arrive(qmp: Qmp, signal: AbortSignal): Promise<void> {
  for (;;) {
    const status = await migrationOf(qmp)
    if (status === 'completed') return
    if (status === 'failed') throw new Error('QEMU made no guest of what it was sent')
    await sleep(poll_ms, undefined, { signal })
  }
}
