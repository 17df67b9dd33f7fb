/**
 * How long a running guest takes from one sled to another, and for how long it is not there for others:
 * the API's answer, and the longest silence to a ping every 5 ms. Beside it, the same guest between two
 * QEMUs by hand, which share its disk and have no network: from the start of the second until the guest runs
 * in it, and from when it is stopped. Both stop it before its memory goes where it is emulated (TCG).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Qmp } from '#native/linux/qmp.ts'
import { linuxObstacles } from '#native/select.ts'
import { repository, TestRack } from '#test/kit/rack.ts'
import type { Harness, Values } from './harness.ts'

const rounds = 7
const [whole, silence] = ['a guest to another sled', 'its silence on the way']
const box = '/organizations/myorg/projects/myproj/instances/box'
const boot_ms_max = 120_000

export async function run(harness: Harness): Promise<void> {
  const obstacles = linuxObstacles()
  if (obstacles.length > 0) {
    harness.skip(whole, obstacles.join('; '))
    return
  }
  const rack = new TestRack('linux', 'sqlite', 1, 2)
  const directory = mkdtempSync(join(tmpdir(), 'luge-bench-'))
  const byHand = new ByHand(directory)
  try {
    await rack.up()
    const address = await launch(rack)
    await byHand.start(acceleratorOf(rack))
    await harness.compareAll(whole, {
      metrics: [whole, silence].map((name) => ({ name, unit: 'ms', bars: [] })),
      rounds,
      own: 'luge',
      candidates: {
        luge: async () => await migrate(rack, address),
        'QEMU by hand': async () => await byHand.migrate(),
      },
    })
  } finally {
    byHand.end()
    await rack.destroy()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A guest with a disk that has booted; its external address. */
async function launch(rack: TestRack): Promise<string> {
  const project = await rack.prepare()
  const { id: image_id } = await rack.api<{ id: string }>('/system/images/alpine')
  await rack.api(`${project}/instances`, 'POST', {
    name: 'box',
    description: 'bench',
    hostname: 'box',
    memory: 1_073_741_824,
    ncpus: 1,
    disks: [
      {
        type: 'create',
        name: 'own',
        description: 'bench',
        size: 1_073_741_824,
        disk_source: { type: 'global_image', image_id },
      },
    ],
    external_ips: [{ type: 'ephemeral' }],
  })
  const { items } = await rack.api<{ items: ReadonlyArray<{ ip: string }> }>(`${box}/external-ips`)
  const [{ ip } = { ip: '' }] = items
  await waitFor(() => rack.outsideRun('ping', '-c1', '-W1', ip).status === 0)
  return ip
}

async function waitFor(isSo: () => boolean): Promise<void> {
  for (let waited_ms = 0; waited_ms < boot_ms_max; waited_ms += 100) {
    if (isSo()) return
    await sleep(100)
  }
  throw new Error('the guest does not boot')
}

/** To whichever sled it is not on. */
async function migrate(rack: TestRack, address: string): Promise<Values> {
  const to = rack.ready?.sleds.find((_sled, index) => !hasGuest(rack, index + 1))
  const pinging = new Pinging(rack.outside, address)
  await sleep(200)
  const began = performance.now()
  await rack.api(`${box}/migrate`, 'POST', { dst_sled_id: to?.id })
  const took_ms = performance.now() - began
  await sleep(200)
  return { [whole]: took_ms, [silence]: await pinging.longestGap_ms() }
}

const hasGuest = (rack: TestRack, sled: number): boolean =>
  readdirSync(join(rack.state, `sled${sled}`, 'instances')).length > 0

/** Pings until it is asked what it heard. */
class Pinging {
  readonly #child: ChildProcess
  #heard = ''

  constructor(netns: string, address: string) {
    const ping = ['ping', '-n', '-D', '-i', '0.005', address]
    this.#child = spawn('ip', ['netns', 'exec', netns, ...ping], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#child.stdout?.on('data', (data: Buffer) => {
      this.#heard += data.toString()
    })
  }

  async longestGap_ms(): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#child.once('close', () => {
      resolve()
    })
    this.#child.kill('SIGINT')
    await promise
    const times = [...this.#heard.matchAll(/^\[([0-9.]+)\].*icmp_seq/gm)].map(([, at]) =>
      Number(at),
    )
    return Math.max(...times.map((at, index) => at - (times[index - 1] ?? at))) * 1_000
  }
}

function acceleratorOf(rack: TestRack): readonly string[] {
  const text = readFileSync(join(rack.state, 'sled1/accelerator.json'), 'utf8')
  const { kind, cpu } = JSON.parse(text) as { kind: string; cpu: string }
  return ['-accel', kind, '-cpu', cpu]
}

interface Running {
  readonly child: ChildProcess
  readonly qmp: Qmp
}

/** The same guest in QEMUs that we start ourselves, one after the other. */
class ByHand {
  readonly #directory: string
  #accelerator: readonly string[] = []
  #running: Running | null = null
  #started = 0

  constructor(directory: string) {
    this.#directory = directory
  }

  async start(accelerator: readonly string[]): Promise<void> {
    this.#accelerator = accelerator
    const image = join(repository, 'out/guest/alpine.img')
    cpSync(image, join(this.#directory, 'disk.img'))
    this.#running = await this.#spawn([])
    const log = join(this.#directory, 'serial.log')
    await waitFor(() => existsSync(log) && readFileSync(log, 'utf8').includes('login: '))
  }

  async migrate(): Promise<Values> {
    const source = this.#running
    if (source === null) throw new Error('no guest runs by hand')
    const began = performance.now()
    const target = await this.#spawn(['-incoming', 'defer'])
    const uri = `unix:${join(this.#directory, 'migration')}`
    await target.qmp.execute('migrate-incoming', { uri })
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 16 * 1024 ** 3 })
    const stopped = performance.now()
    if (this.#accelerator.includes('tcg')) await source.qmp.execute('stop')
    await source.qmp.execute('migrate', { uri })
    for (;;) {
      const { status } = (await target.qmp.execute('query-migrate')) as { status?: string }
      if (status === 'completed') break
      await sleep(5)
    }
    await target.qmp.execute('cont')
    const now = performance.now()
    const { downtime } = (await source.qmp.execute('query-migrate')) as { downtime: number }
    const stood_ms = this.#accelerator.includes('tcg') ? now - stopped : downtime
    const values = { [whole]: now - began, [silence]: stood_ms }
    stop(source)
    this.#running = target
    return values
  }

  end(): void {
    if (this.#running !== null) stop(this.#running)
  }

  async #spawn(more: readonly string[]): Promise<Running> {
    this.#started += 1
    const monitor = join(this.#directory, `qmp${this.#started}`)
    const disk = join(this.#directory, 'disk.img')
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...['-M', 'q35', '-m', '1024', '-nodefaults', '-display', 'none', ...this.#accelerator],
        ...['-drive', `if=virtio,format=raw,file=${disk},file.locking=off`],
        ...['-chardev', `file,id=log,path=${join(this.#directory, 'serial.log')},append=on`],
        ...['-serial', 'chardev:log', '-qmp', `unix:${monitor},server=on,wait=off`, ...more],
      ],
      { cwd: this.#directory, stdio: 'inherit' },
    )
    await waitFor(() => existsSync(monitor))
    const qmp = await Qmp.connect(monitor, { event: () => undefined, close: () => undefined })
    return { child, qmp }
  }
}

function stop({ child, qmp }: Running): void {
  qmp.close()
  child.kill('SIGKILL')
}
