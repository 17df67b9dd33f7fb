/**
 * `creator.ts CLIENTS`: a rack on sim, and clients each of whom creates an instance, looks until it
 * runs, and goes on with the next. Each makes a few in a project of their own, then goes on to the next
 * project: what a firewall costs grows with its VPC, which is not what is measured here.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { TestRack } from '#test/kit/rack.ts'
import { serveOrders, type Answer } from '../peers/orders.ts'

const clients = Number(process.argv[2])
/** Seldom enough that looking is not what is measured: a look costs Nexus a tenth of a creation. */
const look_ms = 100
const instances_a_project = 4
const text = { description: 'bench' }
const rack = new TestRack('sim')
const { external, token } = await rack.up()
const pool = new Pool(external, { connections: clients })

async function api(method: 'GET' | 'POST', path: string, given: unknown = null): Promise<unknown> {
  const response = await pool.request({
    path,
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(given === null ? {} : { 'content-type': 'application/json' }),
    },
    body: given === null ? null : JSON.stringify(given),
  })
  const answer = await response.body.text()
  if (response.statusCode >= 300) throw new Error(`${path}: ${response.statusCode} ${answer}`)
  return JSON.parse(answer)
}

/** Milliseconds from the request until the API shows `running`. */
async function create(project: string, name: string): Promise<number> {
  const began = performance.now()
  const given = { name, ...text, hostname: name, memory: 1_073_741_824, ncpus: 1 }
  await api('POST', `${project}/instances`, given)
  for (;;) {
    const seen = await api('GET', `${project}/instances/${name}`)
    const { run_state } = seen as { readonly run_state: string }
    if (run_state === 'running') return performance.now() - began
    if (run_state === 'failed') throw new Error(`instance ${name} failed`)
    await sleep(look_ms)
  }
}

async function prepare(): Promise<void> {
  await api('POST', '/organizations', { name: 'bench', ...text })
  await api('POST', '/system/ip-pools', { name: 'bench', ...text })
  // An instance takes a quarter of an address.
  const range = { first: '10.64.0.1', last: '10.64.255.254' }
  await api('POST', '/system/ip-pools/bench/ranges/add', range)
}

let orders = 0
async function work(operations: number): Promise<Answer> {
  orders += 1
  const projects = Array.from(
    { length: Math.ceil(operations / instances_a_project) },
    (_, index) => `p${orders}-${index}`,
  )
  for (const name of projects) await api('POST', '/organizations/bench/projects', { name, ...text })
  const samples: number[] = []
  let left = operations
  const began = performance.now()
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let name = projects.pop(); name !== undefined; name = projects.pop()) {
        const project = `/organizations/bench/projects/${name}`
        for (let made = 0; made < instances_a_project && left > 0; made += 1) {
          left -= 1
          samples.push(await create(project, `i${left}`))
        }
      }
    }),
  )
  const wall_ns = (performance.now() - began) * 1e6
  samples.sort((a, b) => a - b)
  const at_ns = (share: number) => (samples[Math.floor(samples.length * share)] ?? 0) * 1e6
  return { operations, wall_ns, p50_ns: at_ns(0.5), p99_ns: at_ns(0.99), bytes: null }
}

try {
  await prepare()
} catch (error) {
  await rack.destroy()
  throw error
}
await serveOrders(work, '', async () => {
  await rack.destroy()
})
