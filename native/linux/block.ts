/**
 * Volumes as raw files, each offered over NBD by a qemu-storage-daemon of its own:
 *
 *   <state>/volumes/<id>.raw       the volume; <id>.partial while it is being filled
 *   <state>/nbd/<id>/sock, pid     its server, which outlives us; a directory each, so that a guest
 *                                  can be shown one without the others
 *   <state>/qmp/<id>               its monitor, which no guest is shown
 *
 * A volume is whole once it has its final name: filling ends with fsync and rename.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Piscina } from 'piscina'
import type {
  Block,
  BlockFailure,
  Endpoint,
  FillFailure,
  Volume,
  VolumeSpec,
} from '#native/platform/block.ts'
import { probeImage } from '#native/image.ts'
import { identify, signal } from '#native/process.ts'
import { findTool } from '#native/select.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { isListening } from '#runtime/wire/listening.ts'
import type { FillTask } from './fill.worker.ts'
import { fillVolume, followVolume, mirrorVolume, type MoveTask } from './mirror.ts'
import { becomeVolume, reflink } from './volume_file.ts'

export interface LinuxBlockOptions {
  /** The sled's state directory. */
  readonly state: string
  /** The image that stands where the guide has alpine.iso. */
  readonly guest_image: string
}
const daemon = 'qemu-storage-daemon'
const serve_ms_max = 5_000
const stop_ms_max = 3_000

export class LinuxBlock implements Block {
  readonly #volumes: string
  readonly #servers: string
  readonly #monitors: string
  readonly #guestImage: string
  #pool: Piscina<FillTask, Result<null, FillFailure>> | null = null

  constructor(options: LinuxBlockOptions) {
    this.#volumes = join(options.state, 'volumes')
    this.#servers = join(options.state, 'nbd')
    this.#monitors = join(options.state, 'qmp')
    this.#guestImage = options.guest_image
    mkdirSync(this.#volumes, { recursive: true, mode: 0o700 })
    mkdirSync(this.#servers, { recursive: true, mode: 0o700 })
    mkdirSync(this.#monitors, { recursive: true, mode: 0o700 })
  }

  readonly find: Block['find'] = async (id) => {
    try {
      const { size } = statSync(this.#raw(id))
      return ok({ id, size_bytes: size, exported: this.#server(id) !== null })
    } catch (error) {
      if (isMissing(error)) return ok(null)
      return err('os_failed', `volume ${id}: ${explain(error)}`)
    }
  }

  readonly create: Block['create'] = async (spec, aborted) => {
    const source = sourceOf(spec, this.#guestImage)
    return await this.#make(spec, async (task) => await this.#fill({ ...task, source }, aborted))
  }

  /** The monitor of its server, which sends it wherever it is told. */
  readonly offer: Block['offer'] = async (id) => {
    const served = await this.export(id, false)
    return served.ok ? ok(this.#monitor(id)) : served
  }

  readonly follow: Block['follow'] = async (id, address, aborted) =>
    await this.#takeIn(id, address, async (task) => await followVolume(task, aborted))

  readonly fill: Block['fill'] = async (id, address, aborted) =>
    await this.#takeIn(id, address, async (task) => await fillVolume(task, aborted))

  async #takeIn(
    id: string,
    control: string,
    take: (task: MoveTask) => Promise<Result<null, BlockFailure>>,
  ): Promise<Result<null, BlockFailure | 'not_found' | 'source_gone'>> {
    const served = await this.export(id, false)
    if (!served.ok) return served
    if (!(await isListening(control))) {
      return err('source_gone', `volume ${id} is not offered at ${control} any more`)
    }
    return await take({ control, ...served.value })
  }

  readonly copy: Block['copy'] = async (from, to, aborted) => {
    const found = await this.find(from)
    if (!found.ok) return found
    if (found.value === null) return err('not_found', `there is no volume ${from}`)
    const { size_bytes, exported } = found.value
    if (size_bytes > to.size_bytes) {
      return err('os_failed', `volume ${from} has ${size_bytes} bytes: it does not fit`)
    }
    const made = await this.#make(to, async (task) => {
      if (!exported) {
        const source = { file: this.#raw(from), size_bytes }
        return await this.#fill({ ...task, source }, aborted)
      }
      if (!(await reflink(this.#raw(from), task.partial))) {
        const copied = await mirrorVolume(
          { control: this.#monitor(from), partial: task.partial, size_bytes },
          aborted,
        )
        if (!copied.ok) return copied
      }
      await becomeVolume(task)
      return ok(null)
    })
    if (made.ok) return made
    return err(made.error === 'no_space' ? 'no_space' : 'os_failed', made.detail)
  }

  /** Has a file filled that becomes the volume, or leaves nothing. */
  async #make(
    { id, size_bytes }: Pick<VolumeSpec, 'id' | 'size_bytes'>,
    fill: (task: Omit<FillTask, 'source'>) => Promise<Result<null, FillFailure>>,
  ): Promise<Result<Volume, FillFailure>> {
    const partial = join(this.#volumes, `${id}.partial`)
    try {
      const filled = await fill({ partial, final: this.#raw(id), size_bytes })
      if (filled.ok) return ok({ id, size_bytes, exported: false })
      rmSync(partial, { force: true })
      return filled
    } catch (error) {
      rmSync(partial, { force: true })
      return err('os_failed', `volume ${id} was not filled: ${explain(error)}`)
    }
  }

  async #fill(task: FillTask, aborted: AbortSignal): Promise<Result<null, FillFailure>> {
    this.#pool ??= new Piscina<FillTask, Result<null, FillFailure>>({
      filename: new URL('fill.worker.ts', import.meta.url).href,
      maxThreads: 2,
      minThreads: 0,
      idleTimeout: 5_000,
    })
    return await this.#pool.run(task, { signal: aborted })
  }

  readonly export: Block['export'] = async (id, read_only) => {
    const found = await this.find(id)
    if (!found.ok) return found
    if (found.value === null) return err('not_found', `there is no volume ${id}`)
    const endpoint: Endpoint = { socket: this.#socket(id), export: id }
    if (this.#server(id) !== null && (await isListening(endpoint.socket))) return ok(endpoint)
    const stopped = await this.#stopServer(id)
    return stopped.ok ? await this.#startServer(id, read_only) : stopped
  }

  readonly unexport: Block['unexport'] = async (id) => await this.#withdraw(id)

  readonly destroy: Block['destroy'] = async (id) => {
    const stopped = await this.#withdraw(id)
    if (!stopped.ok) return stopped
    try {
      rmSync(this.#raw(id), { force: true })
      rmSync(join(this.#volumes, `${id}.partial`), { force: true })
      return ok(null)
    } catch (error) {
      return err('os_failed', `volume ${id} was not removed: ${explain(error)}`)
    }
  }

  readonly list: Block['list'] = async () => {
    const volumes: Volume[] = []
    for (const name of readdirSync(this.#volumes)) {
      if (!name.endsWith('.raw')) continue
      const found = await this.find(name.slice(0, -'.raw'.length))
      if (!found.ok) return found
      if (found.value !== null) volumes.push(found.value)
    }
    return ok(volumes)
  }

  readonly probe: Block['probe'] = async (url) => await probeImage(url)

  readonly unexportAll: Block['unexportAll'] = async () => {
    for (const id of readdirSync(this.#servers)) {
      const stopped = await this.#withdraw(id)
      if (!stopped.ok) return stopped
    }
    return ok(null)
  }

  readonly destroyAll: Block['destroyAll'] = async () => {
    const stopped = await this.unexportAll()
    if (!stopped.ok) return stopped
    rmSync(this.#servers, { recursive: true, force: true })
    rmSync(this.#monitors, { recursive: true, force: true })
    rmSync(this.#volumes, { recursive: true, force: true })
    return ok(null)
  }

  async #startServer(id: string, read_only: boolean): Promise<Result<Endpoint, 'os_failed'>> {
    const program = findTool(daemon)
    if (program === null) {
      return err('os_failed', `${daemon} is missing: run tools/install_prerequisites.sh`)
    }
    const socket = this.#socket(id)
    mkdirSync(this.#serverDirectory(id), { recursive: true, mode: 0o700 })
    const mode = read_only ? 'read-only=on' : 'read-only=off,discard=unmap'
    const child = spawn(
      program,
      [
        ...['--blockdev', `driver=file,node-name=file,filename=${quote(this.#raw(id))},${mode}`],
        ...['--blockdev', `driver=raw,node-name=volume,file=file,${mode}`],
        ...['--nbd-server', `addr.type=unix,addr.path=${quote(socket)},max-connections=8`],
        '--export',
        `type=nbd,id=nbd,node-name=volume,name=${id},writable=${read_only ? 'off' : 'on'}`,
        '--chardev',
        `socket,id=control,path=${quote(this.#monitor(id))},server=on,wait=off`,
        ...['--monitor', 'chardev=control'],
        ...['--pidfile', this.#pid(id)],
      ],
      { cwd: '/', detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let complaint = ''
    child.stderr.on('data', (data: Buffer) => {
      complaint = (complaint + data.toString()).slice(-1000)
    })
    let ended = false
    child.once('exit', () => {
      ended = true
    })
    child.once('error', (error) => {
      ended = true
      complaint = explain(error)
    })
    for (let waited_ms = 0; waited_ms < serve_ms_max && !ended; waited_ms += 10) {
      // Its pid file comes last: without it nobody would find it.
      if (this.#server(id) !== null && (await isListening(socket))) {
        child.stderr.destroy()
        child.unref()
        return ok({ socket, export: id })
      }
      await sleep(10)
    }
    child.kill('SIGKILL')
    return err('os_failed', `${daemon} does not serve volume ${id}: ${complaint.trim()}`)
  }

  /** Ends a volume's server for good. */
  async #withdraw(id: string): Promise<Result<null, 'os_failed'>> {
    const stopped = await this.#stopServer(id)
    if (stopped.ok) rmSync(this.#serverDirectory(id), { recursive: true, force: true })
    return stopped
  }

  async #stopServer(id: string): Promise<Result<null, 'os_failed'>> {
    const server = this.#server(id)
    if (server !== null) {
      signal(server, 'SIGTERM')
      for (let waited_ms = 0; this.#server(id) !== null; waited_ms += 10) {
        if (waited_ms === stop_ms_max) signal(server, 'SIGKILL')
        if (waited_ms > 2 * stop_ms_max) {
          return err('os_failed', `${daemon} ${server.pid} of volume ${id} does not end`)
        }
        await sleep(10)
      }
    }
    // The directory stays: a running guest sees it and looks there for the next server.
    rmSync(this.#socket(id), { force: true })
    rmSync(this.#pid(id), { force: true })
    rmSync(this.#monitor(id), { force: true })
    return ok(null)
  }

  /** The process that serves a volume: the one in its pid file, if it still has our arguments. */
  #server(id: string): ReturnType<typeof identify> {
    try {
      const pid = Number(readFileSync(this.#pid(id), 'utf8'))
      const identity = Number.isInteger(pid) && pid > 0 ? identify(pid) : null
      if (identity === null) return null
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return line.split('\0').includes(this.#pid(id)) ? identity : null
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }

  readonly #raw = (id: string) => join(this.#volumes, `${id}.raw`)
  readonly #serverDirectory = (id: string) => join(this.#servers, id)
  readonly #socket = (id: string) => join(this.#servers, id, 'sock')
  readonly #monitor = (id: string) => join(this.#monitors, id)
  readonly #pid = (id: string) => join(this.#servers, id, 'pid')
}

function sourceOf(spec: VolumeSpec, guest_image: string): FillTask['source'] {
  if (spec.source === null) return null
  const { size_bytes } = spec.source
  return spec.source.type === 'url'
    ? { url: spec.source.url, size_bytes }
    : { file: guest_image, size_bytes }
}

/** QEMU's option syntax doubles a comma inside a value. */
const quote = (path: string) => path.replaceAll(',', ',,')

const isMissing = (error: unknown) =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')
