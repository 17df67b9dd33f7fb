/**
 * Nexus under a steady mixture of requests keeps its memory: for some thousand requests, or for SOAK_REQUESTS.
 * After each slice of them the heap is measured behind a full garbage collection. What compilers and caches
 * learn makes it grow at first, for how long depends on the machine; that ends by itself, a leak does not. So
 * there are further slices until the last ones show no growth, up to a number that only a leak reaches.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Pool } from 'undici'
import { diskBody, privileged, project, TestNexus, unprivileged } from './kit.ts'

const requests_min = Number(process.env['SOAK_REQUESTS'] ?? 7_200)
const slices_min = 15
const slices_max = 60
/** The last ones, which count. */
const slices_measured = 10
const clients = 8
/** What may stay of a request: no more than a small object in a list takes. */
const bytes_a_request_max = 48

setFlagsFromString('--expose-gc')
// Code that rests would be thrown away and made again, which looks like memory that comes and goes.
setFlagsFromString('--no-flush-bytecode')
const collect: unknown = runInNewContext('gc')

let nexus: TestNexus
let pool: Pool
let image_id = ''
before(async () => {
  nexus = await TestNexus.start()
  image_id = (await nexus.guide()).image_id
  const url = await nexus.server.listen({ host: '127.0.0.1', port: 0 })
  pool = new Pool(url, { connections: clients, pipelining: 1 })
})
after(async () => {
  await pool.close()
  await nexus.stop()
})

interface Asked {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly token?: string | null
  readonly given?: unknown
  readonly status: number
}

/** What a client does over and over: reads, changes, mistakes, and requests that are refused. */
const round = (client: number): readonly Asked[] => [
  { method: 'GET', path: `${project}/disks?limit=10`, status: 200 },
  { method: 'GET', path: project, status: 200 },
  { method: 'GET', path: '/system/ip-pools', status: 200 },
  { method: 'GET', path: '/session/me', status: 200 },
  { method: 'GET', path: `${project}/instances/nobody`, status: 404 },
  { method: 'GET', path: '/no/such/path', status: 404 },
  { method: 'GET', path: '/organizations?limit=many', status: 400 },
  { method: 'GET', path: '/system/silos', token: unprivileged, status: 403 },
  { method: 'GET', path: '/organizations', token: null, status: 401 },
  { method: 'POST', path: '/organizations', given: { name: 'MINE' }, status: 400 },
  {
    method: 'POST',
    path: `${project}/disks`,
    given: diskBody(image_id, `d${client}`),
    status: 201,
  },
  { method: 'DELETE', path: `${project}/disks/d${client}`, status: 204 },
]

let requests = 0
async function ask({ method, path, token = privileged, given, status }: Asked): Promise<void> {
  const response = await pool.request({
    method,
    path,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(given === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: given === undefined ? null : JSON.stringify(given),
  })
  const text = await response.body.text()
  assert.equal(response.statusCode, status, `${method} ${path}: ${text}`)
  requests += 1
}

/** All clients' work for so many requests, and then nothing under way. */
async function slice(size: number): Promise<void> {
  const end = requests + size
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      while (requests < end) for (const asked of round(client)) await ask(asked)
    }),
  )
}

/** What is left once the event loop has had its turns, and what has a finalizer has had that. */
async function heap_bytes(): Promise<number> {
  assert.ok(typeof collect === 'function')
  for (let times = 0; times < 3; times += 1) {
    await turn()
    collect()
  }
  return process.memoryUsage().heapUsed
}

/** The middle of all slopes between two measurements (Theil and Sen): single ones out of line do not count. */
function slope(points: ReadonlyArray<{ readonly x: number; readonly y: number }>): number {
  const slopes = points
    .flatMap((a, index) => points.slice(index + 1).map((b) => (b.y - a.y) / (b.x - a.x)))
    .toSorted((a, b) => a - b)
  return slopes[Math.floor(slopes.length / 2)] ?? Number.NaN
}

test('memory does not grow with the number of requests', async (context) => {
  const points: { readonly x: number; readonly y: number }[] = []
  let growth = Number.POSITIVE_INFINITY
  for (let index = 0; index < slices_max; index += 1) {
    if (index >= slices_min && growth < bytes_a_request_max) break
    await slice(requests_min / slices_min)
    points.push({ x: requests, y: await heap_bytes() })
    growth = slope(points.slice(-slices_measured))
  }
  const shown = points.map(({ y }) => (y / 2 ** 20).toFixed(2)).join(' ')
  context.diagnostic(`${requests} requests, ${growth.toFixed(1)} bytes each; heap in MiB: ${shown}`)
  assert.ok(
    growth < bytes_a_request_max,
    `${growth} bytes a request stay, more than ${bytes_a_request_max}; heap in MiB: ${shown}`,
  )
})
