/**
 * Zones as OCI containers, run by crun or runc. They are not our children and outlive us; the
 * runtime's own records under `<state>/crun` say what there is.
 *
 *   <state>/zones/<name>/   bundle: config.json, root/, log, crun.log
 */
import { execFile } from 'node:child_process'
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from 'typebox'
import type { ZoneConfig, ZoneFound, Zones } from '#native/platform/zone.ts'
import { findTool } from '#native/select.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { removeControlGroup } from './control_group.ts'
import { ociConfig, rootLinks } from './oci.ts'
import { closeFd, listenTcp, OsError } from './libc.sys.ts'

const runtime_ms_max = 20_000
const state = Type.Object({ status: Type.String(), pid: Type.Optional(Type.Integer()) })

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export class LinuxZones implements Zones {
  readonly #bundles: string
  readonly #root: string
  readonly #tag: string

  /** `state`: the sled's state directory. `tag` sets its control groups apart from another's. */
  constructor(options: { readonly state: string; readonly tag: string }) {
    this.#tag = options.tag
    this.#bundles = join(options.state, 'zones')
    this.#root = join(options.state, 'crun')
    mkdirSync(this.#bundles, { recursive: true, mode: 0o700 })
    mkdirSync(this.#root, { recursive: true, mode: 0o700 })
  }

  readonly find: Zones['find'] = async (name) => {
    const ran = await this.#oci('state', name)
    if (!ran.ok) return ran
    if (ran.value.code !== 0) return ok({ name, state: 'absent', pid: null })
    const said: unknown = JSON.parse(ran.value.stdout)
    if (!fits(state, said)) return err('os_failed', `zone ${name}: unreadable state`)
    const pid = said.pid ?? 0
    if (said.status === 'running') return ok({ name, state: 'running', pid })
    return ok({ name, state: said.status === 'stopped' ? 'stopped' : 'created', pid: null })
  }

  readonly list: Zones['list'] = async () => {
    const zones: ZoneFound[] = []
    for (const name of listed(this.#bundles).toSorted()) {
      const found = await this.find(name)
      if (!found.ok) return found
      zones.push(found.value)
    }
    return ok(zones)
  }

  readonly boot: Zones['boot'] = async (config) => await this.bootWith(config, [])

  /** Boots a zone and hands it `fds` behind its listening sockets, from descriptor 3 on. */
  async bootWith(
    config: ZoneConfig,
    fds: readonly number[],
  ): Promise<Result<ZoneFound, 'address_taken' | 'os_failed'>> {
    const found = await this.find(config.name)
    if (!found.ok || found.value.state === 'running') return found
    const cleared = await this.#delete(config.name)
    if (!cleared.ok) return cleared
    const listening = openListeners(config)
    if (!listening.ok) return listening
    const handed = [...listening.value, ...fds]
    try {
      this.#writeBundle(config, handed.length)
      return await this.#run(config, handed)
    } catch (error) {
      return err('os_failed', `zone ${config.name}: ${explain(error)}`)
    } finally {
      for (const fd of listening.value) closeFd(fd)
    }
  }

  readonly remove: Zones['remove'] = async (name, grace_ms) => {
    const found = await this.find(name)
    if (!found.ok) return found
    if (found.value.state === 'running') {
      await this.#oci('kill', name, 'TERM')
      await this.#waitStopped(name, grace_ms)
    }
    const cleared = await this.#delete(name)
    if (!cleared.ok) return cleared
    rmSync(join(this.#bundles, name), { recursive: true, force: true })
    return ok(null)
  }

  readonly destroyAll: Zones['destroyAll'] = async (grace_ms) => {
    // A container whose bundle is gone is still known to the runtime.
    const names = new Set([...listed(this.#bundles), ...listed(this.#root)])
    for (const name of names) {
      const removed = await this.remove(name, grace_ms)
      if (!removed.ok) return removed
    }
    rmSync(this.#bundles, { recursive: true, force: true })
    rmSync(this.#root, { recursive: true, force: true })
    return ok(null)
  }

  async #run(config: ZoneConfig, fds: readonly number[]): Promise<Result<ZoneFound, 'os_failed'>> {
    const bundle = join(this.#bundles, config.name)
    const log = openSync(config.log, 'a', 0o600)
    try {
      const complaints = join(bundle, 'crun.log')
      const ran = await this.#spawn(
        ['--log', complaints, 'run', '--detach', '--preserve-fds', String(fds.length)],
        ['--bundle', bundle, config.name],
        ['ignore', log, log, ...fds],
      )
      if (!ran.ok) return ran
      if (ran.value.code !== 0) {
        const said = existsSync(complaints) ? readFileSync(complaints, 'utf8').trim() : ''
        await this.#delete(config.name)
        return err('os_failed', `zone ${config.name} did not boot: ${said}`)
      }
    } finally {
      closeSync(log)
    }
    return await this.find(config.name)
  }

  async #waitStopped(name: string, within_ms: number): Promise<void> {
    for (let waited_ms = 0; waited_ms < within_ms; waited_ms += 20) {
      const found = await this.find(name)
      if (found.ok && found.value.state !== 'running') return
      await sleep(20)
    }
  }

  async #delete(name: string): Promise<Result<null, 'os_failed'>> {
    if (existsSync(join(this.#root, name))) {
      const ran = await this.#oci('delete', '--force', name)
      if (!ran.ok) return ran
      if (ran.value.code !== 0 && existsSync(join(this.#root, name))) {
        return err('os_failed', `zone ${name} was not removed: ${ran.value.stderr.trim()}`)
      }
    }
    return await removeControlGroup(this.#controlGroup(name))
  }

  readonly #controlGroup = (name: string) => `ox${this.#tag}_${name}`

  #writeBundle(config: ZoneConfig, fds: number): void {
    const bundle = join(this.#bundles, config.name)
    const root = join(bundle, 'root')
    mkdirSync(root, { recursive: true, mode: 0o755 })
    for (const { name, target } of rootLinks()) {
      // lstat, because the link leads nowhere until the runtime has mounted what it points to.
      const link = join(root, name)
      if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(target, link)
    }
    rmSync(join(bundle, 'crun.log'), { force: true })
    writeFileSync(
      join(bundle, 'config.json'),
      JSON.stringify(
        ociConfig(config, { root, fds, cgroup: `/${this.#controlGroup(config.name)}` }),
      ),
    )
  }

  /** Runs the OCI runtime to its end. */
  async #oci(...args: readonly string[]): Promise<Result<Ran, 'os_failed'>> {
    const tool = ociTool()
    if (!tool.ok) return tool
    const { promise, resolve } = Promise.withResolvers<Result<Ran, 'os_failed'>>()
    execFile(
      tool.value.path,
      ['--root', this.#root, ...tool.value.options, ...args],
      { timeout: runtime_ms_max },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
        resolve(ok({ code, stdout, stderr }))
      },
    )
    return await promise
  }

  async #spawn(
    global: readonly string[],
    args: readonly string[],
    stdio: ReadonlyArray<'ignore' | number>,
  ): Promise<Result<Ran, 'os_failed'>> {
    const tool = ociTool()
    if (!tool.ok) return tool
    const { promise, resolve } = Promise.withResolvers<Result<Ran, 'os_failed'>>()
    const child = spawn(
      tool.value.path,
      ['--root', this.#root, ...tool.value.options, ...global, ...args],
      { cwd: '/', stdio: [...stdio], timeout: runtime_ms_max, killSignal: 'SIGKILL' },
    )
    child.once('error', (error) => {
      resolve(err('os_failed', `${tool.value.path}: ${explain(error)}`))
    })
    child.once('exit', (code) => {
      resolve(ok({ code, stdout: '', stderr: '' }))
    })
    return await promise
  }
}

/**
 * crun where it works, else runc. crun refuses machines that have controllers in both versions of
 * the cgroup hierarchy ("hybrid mode"), whatever it is asked to manage.
 */
function ociTool(): Result<{ path: string; options: readonly string[] }, 'os_failed'> {
  const crun = findTool('crun')
  // Limits come with a later version; without them crun needs no cgroup of its own.
  if (crun !== null && !isHybrid()) {
    return ok({ path: crun, options: ['--cgroup-manager=disabled'] })
  }
  const runc = findTool('runc')
  if (runc !== null) return ok({ path: runc, options: [] })
  return crun === null
    ? err('os_failed', 'crun (or runc) is missing: run tools/install_prerequisites.sh')
    : err('os_failed', 'crun does not run under hybrid cgroups and runc is missing: install runc')
}

const listed = (path: string) => (existsSync(path) ? readdirSync(path) : [])

function isHybrid(): boolean {
  const path = '/sys/fs/cgroup/unified/cgroup.controllers'
  return existsSync(path) && readFileSync(path, 'utf8').trim() !== ''
}

/** The address is somebody else's, or not this machine's. */
const takenCodes: ReadonlySet<string> = new Set(['EADDRINUSE', 'EADDRNOTAVAIL'])

function openListeners(
  config: ZoneConfig,
): Result<readonly number[], 'address_taken' | 'os_failed'> {
  const fds: number[] = []
  for (const { address, port } of config.listen) {
    try {
      fds.push(listenTcp(address, port, null))
    } catch (error) {
      for (const fd of fds) closeFd(fd)
      const isTaken = error instanceof OsError && takenCodes.has(error.code)
      return isTaken
        ? err('address_taken', `${explain(error)}: choose another address with --external`)
        : err('os_failed', explain(error))
    }
  }
  return ok(fds)
}
