/** Seeing into a rack from the command line: top, metrics and why, of every process at once. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { snapshot, type Snapshot } from '#runtime/seeing/snapshot.ts'
import { fits } from '#runtime/schema.ts'
import { onTerminal } from '#test/kit/terminal.ts'
import { attempt, freePort, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('sim')
const luge = async (...words: readonly string[]) =>
  await sh(join(repository, 'tools/luge'), [...words, '--state', rack.state])
const refusal = (...words: readonly string[]) => {
  const { status, stderr, stdout } = attempt(join(repository, 'tools/luge'), words)
  assert.equal(status, 1, stdout)
  return stderr
}
const ports = { sled_port: 0, nexus_port: 0 }
let project = ''
/** A server of images that takes requests and never answers. */
let silent: Server

before(async () => {
  ports.sled_port = await freePort()
  ports.nexus_port = await freePort()
  await rack.up({ metrics: ports })
  project = await rack.prepare()
  silent = createServer(() => undefined)
  const { promise, resolve } = Promise.withResolvers<void>()
  silent.listen(0, '127.0.0.1', resolve)
  await promise
})
after(async () => {
  silent.closeAllConnections()
  silent.close()
  await rack.destroy()
})

const portOf = (server: Server): number => {
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

/** An image whose size is asked for and never told; refused in the end. */
const askForImage = async () =>
  await rack
    .api('/system/images', 'POST', {
      name: 'slow',
      description: 'x',
      block_size: 512,
      distribution: { name: 'debian', version: '9' },
      source: { type: 'url', url: `http://127.0.0.1:${portOf(silent)}/image` },
    })
    .catch(() => null)

test('without a terminal top prints once: processes, threads, kinds, actors, messages, links', async () => {
  await rack.api(`${project}/instances`, 'POST', {
    name: 'myinst',
    description: 'x',
    hostname: 'myinst',
    memory: 1_073_741_824,
    ncpus: 1,
  })
  const text = await luge('top')
  const [sled = ''] = rack.ready?.sleds.map(({ id }) => id) ?? []
  assert.match(text, new RegExp(`^sled ${sled} {2}pid ${rack.supervisorPid} .* links 1 up 0 down`))
  assert.match(text, /^nexus [0-9a-f-]{36} {2}pid \d+ /m)
  for (const thread of ['main', 'journal', 'net', 'dns', 'storage', 'zone', 'compute']) {
    assert.match(text, new RegExp(`^ {2}${thread} +\\d+ %`, 'm'))
  }
  assert.match(text, /^ {4}sled \(root\) /m)
  assert.match(text, /^ {6}instance\/[0-9a-f-]{36} +(idle|busy|ready) /m)
  assert.match(text, /^zone\.check +\d+ +/m)
  assert.match(text, /^nexus → host [0-9a-f-]{36} +up /m)
})

test('on a terminal top is live: keys sort, filter and quit, and leave the terminal as it was', async () => {
  const program = [join(repository, 'tools/luge'), 'top', '--state', rack.state]
  const steps = [
    { mode: 'raw' },
    { expect: '[1 tree]' },
    { send: '4' },
    { expect: 'HANDLED▾' },
    { send: '/compute' },
    { expect: 'filter: compute' },
    { send: '\r' },
    { expect: '/: filter (compute)' },
    { send: 'q' },
  ] as const
  const { code, restored } = await onTerminal(program, steps, process.env)
  assert.deepEqual([code, restored], [0, true])
})

test('top --json is what every process says of itself', async () => {
  const { processes, unseen } = JSON.parse(await luge('top', '--json')) as {
    readonly processes: readonly Snapshot[]
    readonly unseen: readonly unknown[]
  }
  assert.deepEqual(unseen, [])
  assert.deepEqual(
    processes.map(({ service }) => service),
    ['sled', 'nexus'],
  )
  for (const seen of processes) assert.ok(fits(snapshot, seen), JSON.stringify(seen))
  assert.ok(processes[1]?.http.some(({ status, count }) => status === 201 && count > 0))
})

test('metrics are had from the command line and from the ports of the configuration', async () => {
  const text = await luge('metrics')
  assert.match(
    text,
    /^luge_actors\{service="sled",host="[0-9a-f-]+",thread="compute",kind="instance"\} 1$/m,
  )
  assert.match(
    text,
    /^luge_http_request_seconds_count\{service="nexus",.*operation="POST .*\/instances",status="201"\} 1$/m,
  )
  assert.match(text, /^luge_journal_commits_total\{.*thread="journal"\} [1-9]/m)
  assert.match(text, /^luge_link_up\{service="sled",.*\} 1$/m)
  for (const [service, port] of [
    ['sled', ports.sled_port],
    ['nexus', ports.nexus_port],
  ] as const) {
    const url = `http://127.0.0.1:${port}`
    const answer = await fetch(`${url}/metrics`)
    assert.equal(answer.status, 200)
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    const own = await answer.text()
    assert.match(own, new RegExp(`^process_resident_memory_bytes\\{service="${service}"`, 'm'))
    assert.equal((await fetch(url)).status, 404)
  }
  assert.ok(rack.ready !== null)
  const outside = await fetch(`${rack.ready.external}/metrics`)
  assert.equal(outside.status, 404, 'metrics are not for the outside')
})

test('why follows a stuck request from Nexus to the native call in the sled', async () => {
  assert.equal(await luge('why'), 'Nothing has waited for a second.\n')
  // One request after another, so that there is one whenever somebody looks.
  let isSeen = false
  const asking = (async () => {
    while (!isSeen) await askForImage()
  })()
  const told = await until('the request is seen', 60_000, async () => {
    const text = await luge('why', 'image_probe').catch(() => '')
    return text === '' ? null : text
  })
  isSeen = true
  const id = '[0-9a-f-]{36}'
  const steps = [
    `^system_image_create \\(request ${id}\\) waits for sled/${id} image_probe in sled ${id}, for `,
    `^  sled/${id} \\(thread main of sled ${id}\\) works on image_probe for \\d+\\.\\d s`,
    `^  The native call probe of sled/${id} image_probe runs for \\d+\\.\\d s\\.$`,
  ]
  const lines = told.trimEnd().split('\n')
  assert.equal(lines.length, steps.length, told)
  for (const [at, step] of steps.entries()) assert.match(lines[at] ?? '', new RegExp(step))
  await asking
  assert.match(refusal('why', 'image_probe', '--state', rack.state), /nothing here works on/)
})

test('what cannot be looked at is said in one sentence', async () => {
  const nowhere = join(rack.state, 'nowhere')
  for (const verb of ['top', 'metrics', 'why']) {
    assert.match(
      refusal(verb, '--state', nowhere),
      /^luge: there is no rack in \S+: luge rack up makes one, --state names another\n$/,
    )
  }
  process.kill(rack.zonePid('oxz_nexus'), 'SIGSTOP')
  try {
    const text = await luge('top', '--once')
    assert.match(text, /^the (nexus|Nexus) .*(does not answer|does not say)/m)
    assert.match(text, /^sled /m)
  } finally {
    process.kill(rack.zonePid('oxz_nexus'), 'SIGCONT')
  }
  process.kill(rack.zonePid('oxz_nexus'), 'SIGKILL')
  process.kill(rack.supervisorPid, 'SIGKILL')
  const dead = refusal('top', '--once', '--state', rack.state)
  assert.match(
    dead,
    /^luge: the supervisor of \S+ does not run: luge rack up starts it; the Nexus of .*\n$/,
  )
  await rack.up()
})
