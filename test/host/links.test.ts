/** Links whose packets vanish on the way, which no end of them is told. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { limits } from '#config/limits.ts'
import { TestAuthority } from '#test/kit/certificates.ts'
import { HostProcess, type ProcessGiven } from '#test/kit/link_host.ts'
import { Place } from '#test/kit/network.ts'

const port = 12_229
const tag = `oxlink${process.pid}`
/** Nexus has a cable to each of the sleds. */
const places = ['nexus', 'one', 'two'].map((name) => new Place(`${tag}${name}`))
const rack = new TestAuthority()
const running: HostProcess[] = []

async function start(
  place: Place,
  name: string,
  given: Pick<ProcessGiven, 'peers' | 'listen' | 'dial'>,
) {
  const files = await rack.host(name)
  const made = new HostProcess({ host: name, files, ...given }, { netns: place.name })
  running.push(made)
  await made.ready()
  return made
}
const [hall, first, second] = places
assert.ok(hall !== undefined && first !== undefined && second !== undefined)

before(() => {
  for (const [at, place] of [first, second].entries()) {
    hall.ip(
      ...['link', 'add', `cable${at}`, 'type', 'veth'],
      ...['peer', 'name', 'cable', 'netns', place.name],
    )
    hall.ip('addr', 'add', `fd00:${at}::1/64`, 'dev', `cable${at}`, 'nodad')
    hall.ip('link', 'set', `cable${at}`, 'up')
    place.ip('addr', 'add', `fd00:${at}::2/64`, 'dev', 'cable', 'nodad')
    place.ip('link', 'set', 'cable', 'up')
  }
})
after(async () => {
  for (const one of running) await one.end()
  for (const place of places) await place.end()
})

test('packets that vanish end the link on both sides in time, concern no other, and the link comes again', async () => {
  const nexus = await start(hall, 'nexus-1', {
    peers: ['sled-1', 'sled-2'],
    listen: { host: '::', port },
    dial: null,
  })
  const sled = async (place: Place, at: number) =>
    await start(place, `sled-${at + 1}`, {
      peers: ['nexus-1'],
      listen: null,
      dial: { host: 'nexus-1', address: `fd00:${at}::1`, port },
    })
  const [one, two] = [await sled(first, 0), await sled(second, 1)]
  await nexus.linked('sled-1')
  await nexus.linked('sled-2')
  assert.equal(await nexus.ask('sled-1', 'echo', 5_000), 'ok')

  const dropped = await first.run(
    'nft',
    'add table inet gone; add chain inet gone incoming { type filter hook input priority 0; policy drop; }',
  )
  assert.equal(dropped.status, 0, dropped.output)
  let isOver = false
  const waiting = Promise.all([
    nexus.ask('sled-1', 'echo', 30_000),
    one.ask('nexus-1', 'echo', 30_000),
  ]).finally(() => {
    isOver = true
  })
  const others: string[] = []
  while (!isOver) others.push(await nexus.ask('sled-2', 'echo', 5_000))
  assert.deepEqual(await waiting, ['unreachable', 'unreachable'])
  assert.deepEqual([...new Set(others)], ['ok'])
  await one.unlinked('nexus-1', 2 * limits.link_silent_ms_max)
  await nexus.unlinked('sled-1', 2 * limits.link_silent_ms_max)
  assert.equal(await nexus.ask('sled-1', 'echo', 5_000), 'unreachable')

  const restored = await first.run('nft', 'delete table inet gone')
  assert.equal(restored.status, 0, restored.output)
  await nexus.linked('sled-1', 30_000)
  assert.equal(await nexus.ask('sled-1', 'echo', 5_000), 'ok')
  assert.equal(await one.ask('nexus-1', 'echo', 5_000), 'ok')
  assert.equal(await two.ask('nexus-1', 'echo', 5_000), 'ok')
})
