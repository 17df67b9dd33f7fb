/**
 * How long a user waits for a guest. On linux: API call → QEMU runs, against starting the same QEMU
 * by hand in the same run. On sim: create → running, one after another and many at once.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { linuxObstacles } from '#native/select.ts'
import { TestRack } from '#test/kit/rack.ts'
import type { Harness } from './harness.ts'

const project = '/organizations/bench/projects/bench'
const rounds_linux = 5
const instances_sim = 200
const concurrency_sim = 16

interface Instance {
  readonly run_state: string
}

export async function run(harness: Harness): Promise<void> {
  await benchSim(harness)
  const obstacles = linuxObstacles()
  if (obstacles.length > 0) harness.skip('API call → QEMU running', obstacles.join('; '))
  else await benchLinux(harness)
}

async function benchSim(harness: Harness): Promise<void> {
  const rack = new TestRack('sim')
  try {
    await rack.up()
    await prepare(rack)
    await createAndWait(rack, 'warm')
    const latencies: number[] = []
    const began = performance.now()
    let next = 0
    await Promise.all(
      Array.from({ length: concurrency_sim }, async () => {
        while (next < instances_sim) {
          next += 1
          latencies.push(await createAndWait(rack, `i${next}`))
        }
      }),
    )
    const seconds = (performance.now() - began) / 1000
    harness.record('sim instance create → running', 'ms', latencies)
    harness.record('sim instances a second', '1/s', [instances_sim / seconds])
  } finally {
    await rack.destroy()
  }
}

async function benchLinux(harness: Harness): Promise<void> {
  const rack = new TestRack('linux')
  const directory = mkdtempSync(join(tmpdir(), 'luge-bench-'))
  try {
    await rack.up()
    await prepare(rack)
    await harness.compare('API call → QEMU running', {
      unit: 'ms',
      rounds: rounds_linux,
      candidates: {
        luge: async (round: number) => await createAndWait(rack, `i${round}`),
        // The same accelerator and processor model that the rack has found to work.
        'QEMU by hand': async () => await qemuByHand(directory, acceleratorOf(rack)),
      },
    })
  } finally {
    await rack.destroy()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function prepare(rack: TestRack): Promise<void> {
  const text = { description: 'bench' }
  await rack.api('/organizations', 'POST', { name: 'bench', ...text })
  await rack.api('/organizations/bench/projects', 'POST', { name: 'bench', ...text })
  await rack.api('/system/ip-pools', 'POST', { name: 'bench', ...text })
  const range = { first: '172.20.15.227', last: '172.20.15.239' }
  const wide = { first: '10.77.0.1', last: '10.77.3.254' }
  const ranges = rack.platform === 'linux' ? [range] : [range, wide]
  for (const one of ranges) await rack.api('/system/ip-pools/bench/ranges/add', 'POST', one)
}

/** Milliseconds from the request to the API showing `running`. */
async function createAndWait(rack: TestRack, name: string): Promise<number> {
  const began = performance.now()
  await rack.api(`${project}/instances`, 'POST', {
    name,
    description: 'bench',
    hostname: name,
    memory: 1_073_741_824,
    ncpus: 1,
  })
  for (;;) {
    const { run_state } = await rack.api<Instance>(`${project}/instances/${name}`)
    if (run_state === 'running') return performance.now() - began
    if (run_state === 'failed') throw new Error(`instance ${name} failed`)
    await sleep(2)
  }
}

function acceleratorOf(rack: TestRack): readonly string[] {
  const text = readFileSync(join(rack.state, 'sled1/accelerator.json'), 'utf8')
  const { kind, cpu } = JSON.parse(text) as { kind: string; cpu: string }
  return ['-accel', kind, '-cpu', cpu]
}

/** The same machine started by hand: milliseconds until QMP says it runs. */
async function qemuByHand(directory: string, accelerator: readonly string[]): Promise<number> {
  const began = performance.now()
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'q35', '-m', '1024', '-nodefaults', '-display', 'none', '-serial', 'none'],
      ...accelerator,
      ...['-qmp', 'stdio'],
    ],
    { cwd: directory, stdio: ['pipe', 'pipe', 'inherit'] },
  )
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let heard = ''
    child.once('exit', () => {
      reject(new Error('QEMU ended'))
    })
    child.stdout.on('data', (data: Buffer) => {
      heard += data.toString()
      if (heard.includes('"status": "running"')) resolve()
    })
    child.stdin.write('{"execute":"qmp_capabilities"}{"execute":"query-status"}')
    await promise
    return performance.now() - began
  } finally {
    child.removeAllListeners('exit')
    child.kill('SIGKILL')
  }
}
