/** The serial console's stream where what it needs is away. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { serialRoutes } from '#actors/nexus/compute/serial.ts'
import type { Services } from '#actors/nexus/context.ts'
import { err } from '#runtime/result.ts'
import { until } from '#test/kit/rack.ts'
import { instanceBody, project, TestNexus } from './kit.ts'

class Viewer extends EventEmitter {
  readonly bufferedAmount = 0
  readonly closed: string[] = []
  close(_code: number, why: string): void {
    this.closed.push(why)
  }
}

test('keys that come while sled and store are away end the stream, and nothing else', async (context) => {
  const nexus = await TestNexus.during(context)
  await nexus.guide()
  await nexus.ok('POST', `${project}/instances`, { ...instanceBody(), disks: [] })
  const held = Promise.withResolvers<never>()
  const away = { call: async () => await Promise.resolve(err('unreachable', 'the sled is away')) }
  const watcher = { call: async () => await held.promise }
  let isAway = false
  const services = new Proxy(nexus.services, {
    get: (own: Services, name: keyof Services): unknown => {
      if (name === 'sleds') return { instance: () => away, console: () => watcher }
      if (isAway && name === 'store') throw new Error('the store is away')
      return own[name]
    },
  })
  const route = serialRoutes.find(({ id }) => id === 'instance_serial_console_stream')
  const names: Readonly<Record<string, string>> = {
    organization_name: 'myorg',
    project_name: 'myproj',
    instance_name: 'myinst',
  }
  const call = { services, path: (name: string) => names[name] ?? '', actor: await actor(nexus) }
  const stream = (await route?.handle(call as never)) as (viewer: Viewer) => Promise<void>
  const viewer = new Viewer()
  const streaming = stream(viewer)
  isAway = true
  for (const key of ['a', 'b']) viewer.emit('message', Buffer.from(key), true)
  await until('the viewer is told', 5_000, async () => (viewer.closed.length === 2 ? true : null))
  assert.deepEqual(new Set(viewer.closed), new Set(['keys do not reach the console']))
  held.reject(new Error('the store is away'))
  await assert.rejects(streaming, /the store is away/)
})

async function actor({ store }: TestNexus) {
  const { id, silo_id } = await store
    .selectFrom('silo_user')
    .select(['id', 'silo_id'])
    .where('id', '=', '001de000-05e4-4000-8000-000000004007')
    .executeTakeFirstOrThrow()
  return { user_id: id, silo_id }
}
