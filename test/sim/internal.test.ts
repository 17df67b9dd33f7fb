/** The internal APIs of a rack: served by its processes, for programs with certificates of the rack. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hostFiles } from '#runtime/tls/files.ts'
import { curl, type CurlOptions } from '#test/kit/curl.ts'
import { attempt, repository, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('sim')
let [nexus_id, sled_id] = ['', '']
const tls = (directory: string) => hostFiles(join(rack.state, directory, 'tls'))
const at = (directory: string) => ({ path: join(rack.state, directory, 'internal.sock') })
const nexus = (): CurlOptions => ({
  ...{ at: at('nexus'), host: nexus_id, as: tls('sled1') },
  authority: tls('sled1').authority,
})
const sled = (): CurlOptions => ({
  ...{ at: at('sled1'), host: sled_id, as: tls('nexus') },
  authority: tls('nexus').authority,
})

before(async () => {
  await rack.up({})
  const plan = JSON.parse(readFileSync(join(rack.state, 'rack.json'), 'utf8'))
  nexus_id = plan.nexus[0].id
  sled_id = plan.sleds[0].id
})
after(async () => {
  await rack.destroy()
})

const service = (zone_type: string) => ({
  ...{ id: '11111111-1111-4111-8111-111111111111', zone_type, addresses: [], services: [] },
})
const services = (...types: string[]) => ({ services: types.map(service) })

const documentFrom = async (who: CurlOptions) =>
  await until('it serves', 10_000, async () => {
    const { status, json } = await curl(who, 'GET /openapi.json')
    return status === 200 ? json : null
  })

test('Nexus and the sled each serve their document', async () => {
  assert.equal((await documentFrom(nexus())).info.title, 'Nexus internal API')
  assert.equal((await documentFrom(sled())).info.title, 'Oxide Sled Agent API')
})

test('a report over HTTP is seen in the external API', async () => {
  const sa_address = '[fd00:1122:3344:101::1]:12345'
  const put = await curl(nexus(), `POST /sled-agents/${sled_id}`, { sa_address, role: 'scrimlet' })
  assert.equal(put.status, 204, put.text)
  const seen = await rack.api<{ service_address: string }>(`/system/hardware/sleds/${sled_id}`)
  assert.equal(seen.service_address, sa_address)
  assert.equal((await rack.status()).nexus_connected, true)
})

test('a sled has the services that it was set up with, and can be asked for no others', async () => {
  const whole = await curl(sled(), 'PUT /services', services('nexus', 'internal_dns'))
  assert.equal(whole.status, 204, whole.text)
  const less = await curl(sled(), 'PUT /services', services('nexus'))
  assert.equal(less.status, 400)
  assert.equal(less.json.message, 'Services already configured for this Sled Agent')
  const more = await curl(sled(), 'PUT /services', services('nexus', 'internal_dns', 'oximeter'))
  assert.equal(more.status, 501)
  assert.match(more.json.message, /cannot make a zone of type "oximeter"/)
})

test('without a certificate there is no answer, and one that is revoked is one no more', async () => {
  for (const who of [nexus(), sled()]) {
    const answer = await curl({ ...who, as: null }, 'GET /openapi.json')
    assert.notEqual(answer.exit, 0)
    assert.equal(answer.text, '')
  }
  const old = hostFiles(join(rack.state, 'old'))
  mkdirSync(join(rack.state, 'old'))
  for (const file of ['certificate', 'key'] as const) copyFileSync(tls('sled1')[file], old[file])
  assert.equal((await curl({ ...nexus(), as: old }, 'GET /openapi.json')).status, 200)
  const revoke = attempt(join(repository, 'tools/luge'), [
    ...['rack', 'revoke', sled_id, '--state', rack.state],
  ])
  assert.equal(revoke.status, 0, revoke.stderr)
  await until('the old one is refused', 20_000, async () =>
    (await curl({ ...nexus(), as: old }, 'GET /openapi.json')).exit === 0 ? null : true,
  )
  assert.equal((await curl(nexus(), 'GET /openapi.json')).status, 200)
})

test('plain HTTP beyond loopback is refused with a sentence that names the key', () => {
  const read = readFileSync(join(rack.state, 'nexus/config.toml'), 'utf8')
  const path = join(rack.state, 'open.toml')
  const open = read
    .replace(/^development = true$/m, 'development = false')
    .replace(/"spoof", /, '')
    .replace(/^\[internal\][^[]*\[internal\.at\][^[]*/m, '')
  writeFileSync(
    path,
    `${open}\n[internal]\nplain = true\n[internal.at]\naddress = "fd00::1"\nport = 12221\n`,
  )
  const nexusAlone = attempt(process.execPath, [join(repository, 'runtime/bin/nexus.ts'), path])
  assert.equal(nexusAlone.status, 1)
  assert.match(nexusAlone.stderr, /internal: plain HTTP on fd00::1 needs development = true/)
  const config = JSON.parse(readFileSync(join(rack.state, 'sled1/sled.json'), 'utf8'))
  const other = join(rack.state, 'open.json')
  const internal = { at: { address: 'fd00::1', port: 12345 }, plain: true }
  writeFileSync(other, JSON.stringify({ ...config, internal, development: false }))
  const sledAlone = attempt(process.execPath, [join(repository, 'runtime/bin/sled.ts'), other])
  assert.equal(sledAlone.status, 1)
  assert.match(sledAlone.stderr, /internal: plain HTTP on fd00::1 needs development = true/)
})
