/** A thousand clients, each with a connection of its own, all at once: everybody gets their own answer. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Pool } from 'undici'
import { privileged, TestNexus } from './kit.ts'

const clients = 1_000
const organizations = 10
const authorization = `Bearer ${privileged}`

let nexus: TestNexus
let pool: Pool
before(async () => {
  nexus = await TestNexus.start()
  for (let index = 0; index < organizations; index += 1) {
    await nexus.ok('POST', '/organizations', { name: `o${index}`, description: '' })
  }
  const url = await nexus.server.listen({ host: '127.0.0.1', port: 0 })
  pool = new Pool(url, { connections: clients, pipelining: 1 })
})
after(async () => {
  await pool.close()
  await nexus.stop()
})

async function ask(method: 'GET' | 'POST', path: string, given: unknown = null) {
  const response = await pool.request({
    method,
    path,
    headers: { authorization, ...(given === null ? {} : { 'content-type': 'application/json' }) },
    body: given === null ? null : JSON.stringify(given),
  })
  const body: unknown = await response.body.json()
  const { statusCode: status, headers } = response
  return { status, request_id: headers['x-request-id'], name: Object(body).name as unknown }
}
const everybody = async <T>(work: (client: number) => Promise<T>) =>
  await Promise.all(Array.from({ length: clients }, async (_, client) => await work(client)))

test('no request of a thousand clients at once is lost, nor answered with what is another’s', async () => {
  const answers = await everybody(
    async (client) => await ask('GET', `/organizations/o${client % organizations}`),
  )
  for (const [client, { status, name }] of answers.entries()) {
    assert.deepEqual({ status, name }, { status: 200, name: `o${client % organizations}` })
  }
  assert.equal(new Set(answers.map(({ request_id }) => request_id)).size, clients)
  const { promise, resolve } = Promise.withResolvers<number>()
  nexus.server.server.getConnections((_error, count) => {
    resolve(count)
  })
  assert.equal(await promise, clients, 'each had a connection of its own')
})

test('what a thousand clients make at once is all there', async () => {
  const made = await everybody(
    async (client) => await ask('POST', '/organizations', { name: `n${client}`, description: '' }),
  )
  for (const [client, { status, name }] of made.entries()) {
    assert.deepEqual({ status, name }, { status: 201, name: `n${client}` })
  }
  const page = await nexus.ok('GET', '/organizations?limit=10000')
  assert.equal(page.items.length, clients + organizations)
})
