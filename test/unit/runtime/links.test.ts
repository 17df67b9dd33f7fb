/** Links between hosts over TLS: who may link up, what ends a link, and whom that concerns. */
import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { limits } from '#config/limits.ts'
import { listenTcp } from '#native/linux/libc.sys.ts'
import { manualClock, systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { dialSecurely } from '#runtime/tls/secure.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { scratch, TestAuthority } from '#test/kit/certificates.ts'
import { helloFrame } from '#test/kit/frames.ts'
import { HostProcess, linkHost, type LinkHost, type ProcessGiven } from '#test/kit/link_host.ts'
import { freePort, until } from '#test/kit/rack.ts'

const ending: (() => void | Promise<void>)[] = []
after(async () => {
  for (const end of ending.toReversed()) await end()
})
const soon_ms = 5_000

async function host(rack: TestAuthority, name: string, peers: readonly string[]) {
  const made = await linkHost({ host: name, files: await rack.host(name), peers })
  ending.push(made.close)
  return made
}

/** A rack of a Nexus that knows two sleds; both are linked up with it. */
async function smallRack() {
  const rack = new TestAuthority()
  const path = join(rack.directory, 'wire.sock')
  const nexus = await host(rack, 'nexus-1', ['sled-1', 'sled-2'])
  await nexus.links.listen({ path })
  const one = await host(rack, 'sled-1', ['nexus-1'])
  const two = await host(rack, 'sled-2', ['nexus-1'])
  for (const sled of [one, two]) sled.links.dial('nexus-1', connector({ path }))
  await until('both are linked', 20_000, () =>
    nexus.links.peers.length === 2 && one.links.peers.length + two.links.peers.length === 2
      ? true
      : null,
  )
  return { rack, path, nexus, one, two }
}
const said = ({ lines }: LinkHost, what: RegExp) =>
  lines.some(({ fields }) => typeof fields['why'] === 'string' && what.test(fields['why']))

test('hosts that know each other call each other both ways over TLS', async () => {
  const { nexus, one, two } = await smallRack()
  assert.equal(await one.ask('nexus-1', 'echo', soon_ms), 'ok')
  assert.equal(await nexus.ask('sled-1', 'echo', soon_ms), 'ok')
  assert.equal(await nexus.ask('sled-2', 'echo', soon_ms), 'ok')
  assert.deepEqual(one.links.troubles, [])
  assert.equal(await two.ask('sled-1', 'echo', soon_ms), 'unreachable')
})

test('a host that is not named here is refused, whatever its certificate', async () => {
  const { rack, path, nexus } = await smallRack()
  const other = await host(rack, 'sled-3', ['nexus-1'])
  other.links.dial('nexus-1', connector({ path }))
  await until('it is told', soon_ms, () => (other.links.troubles.length > 0 ? true : null))
  assert.ok(
    said(nexus, /^sled-3 is a host of this rack, but none that the configuration here names/),
  )
  assert.match(other.links.troubles[0] ?? '', /^nexus-1 is not reached: the peer ended/)
  assert.deepEqual(nexus.links.peers.toSorted(), ['sled-1', 'sled-2'])
  assert.equal(await nexus.ask('sled-1', 'echo', soon_ms), 'ok')
})

test('who greets without TLS is not heard, and a host that says another name is not believed', async () => {
  const { path, nexus, one } = await smallRack()
  const before = nexus.links.to('sled-2')
  const plain = createConnection({ path })
  plain.on('error', () => undefined)
  plain.write(helloFrame('sled-2'))
  const { credentials } = one.identity
  const liar = dialSecurely(createConnection({ path }), 'nexus-1', {
    credentials,
    clock: systemClock,
  })
  liar.on('error', () => undefined)
  liar.resume()
  liar.write(helloFrame('sled-2'))
  await until('both are gone', soon_ms, () => (plain.destroyed && liar.destroyed ? true : null))
  assert.ok(said(nexus, /it says that it is sled-2, and should be sled-1/))
  assert.equal(nexus.links.to('sled-2'), before)
})

test('a host that is not the one that was dialled is told nothing', async () => {
  const { rack, path } = await smallRack()
  const sled = await host(rack, 'sled-9', ['nexus-2'])
  sled.links.dial('nexus-2', connector({ path }))
  await until('it is refused', soon_ms, () => (sled.links.troubles.length > 0 ? true : null))
  assert.match(sled.links.troubles[0] ?? '', /is for nexus-1, not for nexus-2/)
})

test('revoking a host ends its link at once, and no other', async () => {
  const { rack, nexus, one, two } = await smallRack()
  const kept = nexus.links.to('sled-2')
  const waiting = nexus.ask('sled-1', 'hang', 20_000)
  await rack.revoke('sled-1', ['nexus-1', 'sled-2'])
  assert.ok((await nexus.identity.reload()).ok)
  assert.equal(nexus.links.to('sled-1'), null)
  assert.equal(await waiting, 'unreachable')
  assert.ok(said(nexus, /has been revoked/))
  assert.equal(nexus.links.to('sled-2'), kept)
  assert.equal(await two.ask('nexus-1', 'echo', soon_ms), 'ok')
  // It dials again and again, and is told why not.
  await until('it learns', soon_ms, () =>
    one.links.troubles.some((trouble) => /revoked|ended the connection/.test(trouble))
      ? true
      : null,
  )
  assert.equal(nexus.links.to('sled-1'), null)
})

test('a renewed certificate changes no link, and new links use it', async () => {
  const { rack, path, nexus, one } = await smallRack()
  const kept = one.links.to('nexus-1')
  const old = one.identity.credentials.leaf.serialNumber
  await rack.renew('sled-1')
  assert.ok((await one.identity.reload()).ok)
  assert.notEqual(one.identity.credentials.leaf.serialNumber, old)
  assert.equal(one.links.to('nexus-1'), kept)
  assert.equal(await one.ask('nexus-1', 'echo', soon_ms), 'ok')
  nexus.links.close()
  const again = await host(rack, 'nexus-1', ['sled-1'])
  await again.links.listen({ path })
  await until('it is linked again', 20_000, () => again.links.to('sled-1'))
  assert.equal(await again.ask('sled-1', 'echo', soon_ms), 'ok')
})

test('two hosts that dial each other keep one link', async () => {
  const rack = new TestAuthority()
  const names = ['nexus-1', 'nexus-2'] as const
  const paths = names.map((name) => join(rack.directory, `${name}.sock`))
  const [one, two] = await Promise.all(names.map((name) => host(rack, name, names)))
  assert.ok(one !== undefined && two !== undefined)
  await one.links.listen({ path: paths[0] ?? '' })
  await two.links.listen({ path: paths[1] ?? '' })
  one.links.dial('nexus-2', connector({ path: paths[1] ?? '' }))
  two.links.dial('nexus-1', connector({ path: paths[0] ?? '' }))
  let since = 0
  let last = one.links.to('nexus-2')
  await until('the link stays', 30_000, async () => {
    const now = one.links.to('nexus-2')
    since = now === last && now !== null ? since + 1 : 0
    last = now
    return since === 30 && (await two.ask('nexus-1', 'echo', soon_ms)) === 'ok' ? true : null
  })
})

test('attempts to dial come later and later, and not in step with others', async () => {
  const clock = manualClock()
  const attemptsOf = (seed: number) => {
    const at_ms: number[] = []
    const links: Links = new Links({
      host: 'sled-1',
      clock,
      log: memoryLog(),
      random: seededRandom(seed),
      exports: [],
      serve: () => system,
      security: null,
    })
    const system: System = new System({
      host: 'sled-1',
      thread: 'main',
      clock,
      random: systemRandom,
      log: memoryLog(),
      routes: {},
      toThread: () => null,
      toHost: () => null,
    })
    ending.push(() => {
      links.close()
    })
    links.dial('nexus-1', () => {
      at_ms.push(clock.monotonic())
      throw new Error('no way there')
    })
    assert.deepEqual(links.troubles, ['nexus-1 is not reached: no way there'])
    return at_ms
  }
  const [first, second] = [attemptsOf(1), attemptsOf(2)]
  await clock.advance(20_000)
  const pauses = first.slice(1).map((at_ms, index) => at_ms - (first[index] ?? 0))
  assert.ok(pauses.length > 10)
  let most_ms: number = limits.link_retry_ms_min
  for (const pause_ms of pauses) {
    assert.ok(pause_ms >= most_ms / 2 && pause_ms <= most_ms, `${pause_ms} of ${most_ms}`)
    most_ms = Math.min(limits.link_retry_ms_max, most_ms * 2)
  }
  assert.ok(second.length > 10)
  assert.deepEqual(
    first.slice(1).filter((at_ms) => second.includes(at_ms)),
    [],
  )
})

test('who says nothing loses its place to newcomers, so that hosts get in', async () => {
  const rack = new TestAuthority()
  const path = join(scratch(), 'wire.sock')
  const nexus = await host(rack, 'nexus-1', ['sled-1', 'sled-2'])
  await nexus.links.listen({ path })
  const sled = await host(rack, 'sled-1', ['nexus-1'])
  // They prove who they are, and then do not greet.
  const { credentials } = sled.identity
  const silent = Array.from({ length: limits.link_strangers_max + 20 }, () => {
    const socket = dialSecurely(createConnection({ path }), 'nexus-1', {
      credentials,
      clock: systemClock,
    })
    socket.on('error', () => undefined)
    socket.resume()
    return socket
  })
  ending.push(() => {
    for (const socket of silent) socket.destroy()
  })
  const other = await host(rack, 'sled-2', ['nexus-1'])
  other.links.dial('nexus-1', connector({ path }))
  await until('it is linked', 20_000, () => other.links.to('nexus-1'))
  assert.equal(await other.ask('nexus-1', 'echo', soon_ms), 'ok')
  await until('the first have gone', 20_000, () =>
    silent.filter(({ destroyed }) => destroyed).length >= 20 ? true : null,
  )
})

/** A Nexus and two sleds as processes, linked up over TCP. */
async function processes() {
  const rack = new TestAuthority()
  const port = await freePort()
  const start = async (name: string, given: Pick<ProcessGiven, 'peers' | 'listen' | 'dial'>) => {
    const made = new HostProcess({ host: name, files: await rack.host(name), ...given })
    ending.push(async () => {
      await made.end()
    })
    await made.ready()
    return made
  }
  const nexus = await start('nexus-1', {
    peers: ['sled-1', 'sled-2'],
    listen: { host: '127.0.0.1', port },
    dial: null,
  })
  const dial = { host: 'nexus-1', address: '127.0.0.1', port }
  const sled = async (name: string) => await start(name, { peers: ['nexus-1'], listen: null, dial })
  const [one, two] = [await sled('sled-1'), await sled('sled-2')]
  await Promise.all([nexus.linked('sled-1'), nexus.linked('sled-2'), one.linked('nexus-1')])
  return { nexus, one, two, sled }
}

test('a peer that stands still costs its callers unreachable, and others nothing; it comes back', async () => {
  const { nexus, one } = await processes()
  one.child.kill('SIGSTOP')
  let isOver = false
  // Many who wait, some longer than silence lasts and some shorter.
  const waiting = Promise.all([
    ...Array.from({ length: 50 }, async () => await nexus.ask('sled-1', 'echo', 30_000)),
    ...Array.from({ length: 50 }, async () => await nexus.ask('sled-1', 'echo', 100)),
  ]).finally(() => {
    isOver = true
  })
  const others: string[] = []
  while (!isOver) others.push(await nexus.ask('sled-2', 'echo', soon_ms))
  const answers = await waiting
  assert.deepEqual([...new Set(answers.slice(0, 50))], ['unreachable'])
  assert.deepEqual([...new Set(answers.slice(50))], ['deadline'])
  assert.ok(others.length > 100, `only ${others.length} others were answered meanwhile`)
  assert.deepEqual([...new Set(others)], ['ok'])
  assert.equal(await nexus.ask('sled-1', 'echo', soon_ms), 'unreachable')
  one.child.kill('SIGCONT')
  await nexus.linked('sled-1')
  assert.equal(await nexus.ask('sled-1', 'echo', soon_ms), 'ok')
})

test('a peer that is killed costs its callers unreachable at once, and its next life is found', async () => {
  const { nexus, one, sled } = await processes()
  const waiting = nexus.ask('sled-1', 'hang', 60_000)
  await one.end()
  assert.equal(await waiting, 'unreachable')
  assert.equal(await nexus.ask('sled-2', 'echo', soon_ms), 'ok')
  const again = await sled('sled-1')
  await nexus.linked('sled-1')
  assert.equal(await nexus.ask('sled-1', 'echo', soon_ms), 'ok')
  assert.equal(await again.ask('nexus-1', 'echo', soon_ms), 'ok')
})

test('a listening descriptor that was handed over is listened on', async () => {
  const rack = new TestAuthority()
  const port = await freePort()
  const fd = listenTcp('127.0.0.1', port, null)
  const nexus = new HostProcess(
    {
      host: 'nexus-1',
      files: await rack.host('nexus-1'),
      peers: ['sled-1'],
      listen: { fd: 3 },
      dial: null,
    },
    { fd },
  )
  closeSync(fd)
  ending.push(async () => {
    await nexus.end()
  })
  await nexus.ready()
  const sled = await host(rack, 'sled-1', ['nexus-1'])
  sled.links.dial('nexus-1', connector({ host: '127.0.0.1', port }))
  await until('it is linked', 20_000, () => sled.links.to('nexus-1'))
  assert.equal(await sled.ask('nexus-1', 'echo', soon_ms), 'ok')
})

test('a place that is taken is a rejection that names it', async () => {
  const rack = new TestAuthority()
  const port = await freePort()
  const taken = createServer().listen(port, '127.0.0.1')
  ending.push(() => {
    taken.close()
  })
  await until('it is taken', soon_ms, () => (taken.listening ? true : null))
  const nexus = await host(rack, 'nexus-1', [])
  await assert.rejects(nexus.links.listen({ host: '127.0.0.1', port }), /EADDRINUSE.*127\.0\.0\.1/)
})
