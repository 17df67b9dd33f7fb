/** The guide's walk-through and its table of refusals, word for word. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus, unprivileged } from './kit.ts'

let nexus: TestNexus
let image_id = ''
before(async () => {
  nexus = await TestNexus.start()
})
after(async () => {
  await nexus.stop()
})

const refused = async (
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  body: unknown,
  expected: { readonly status: number; readonly code: string | null; readonly message: string },
) => {
  const answer = await nexus.call(method, url, body)
  assert.equal(answer.json.message, expected.message)
  assert.equal(answer.status, expected.status)
  assert.equal(answer.json.error_code ?? null, expected.code)
  assert.equal(answer.json.request_id, answer.headers['x-request-id'])
}
const invalid = (message: string) => ({ status: 400, code: 'InvalidRequest', message })
const value = (label: string, text: string) => ({
  status: 400,
  code: 'InvalidValue',
  message: `unsupported value for "${label}": ${text}`,
})
const waitState = async (wanted: string) => {
  await until(`myinst is ${wanted}`, 5_000, async () => {
    const { run_state } = await nexus.ok('GET', `${project}/instances/myinst`)
    return run_state === wanted ? true : null
  })
}

test('without credentials everything is 401, and with bad ones too', async () => {
  for (const token of [null, 'oxide-spoof-Jack-Donaghy', 'oxide-token-00', 'nonsense']) {
    const answer = await nexus.call('GET', '/organizations', undefined, token)
    assert.equal(answer.status, 401)
    assert.equal(answer.json.error_code, 'Unauthorized')
    assert.equal(answer.json.message, 'credentials missing or invalid')
  }
})

test('who I am', async () => {
  assert.deepEqual(await nexus.ok('GET', '/session/me'), {
    id: '001de000-05e4-4000-8000-000000004007',
    display_name: 'privileged',
    silo_id: '001de000-5110-4000-8000-000000000000',
  })
})

test('an instance without any pool is refused and leaves nothing', async () => {
  const text = { description: 'x' }
  await nexus.ok('POST', '/organizations', { name: 'poor', ...text })
  await nexus.ok('POST', '/organizations/poor/projects', { name: 'p', ...text })
  const url = '/organizations/poor/projects/p/instances'
  const { disks: _disks, ...body } = instanceBody()
  await refused('POST', url, body, invalid('No external IP addresses available'))
  assert.deepEqual((await nexus.ok('GET', url)).items, [])
  for (const table of ['network_interface', 'external_ip', 'instance'] as const) {
    const rows = nexus.store.selectFrom(table).selectAll().where('time_deleted_ms', 'is', null)
    assert.deepEqual(await rows.execute(), [])
  }
})

test('a project begins with the default VPC, its subnet, router and rules', async () => {
  ;({ image_id } = await nexus.guide())
  const [vpc] = (await nexus.ok('GET', `${project}/vpcs`)).items
  assert.equal(vpc.name, 'default')
  assert.equal(vpc.description, 'Default VPC')
  assert.match(vpc.ipv6_prefix, /^fd[0-9a-f:]+::\/48$/)
  const [subnet] = (await nexus.ok('GET', `${project}/vpcs/default/subnets`)).items
  assert.equal(subnet.ipv4_block, '172.30.0.0/22')
  assert.equal(subnet.ipv6_block, vpc.ipv6_prefix.replace('/48', '/64'))
  const [route] = (await nexus.ok('GET', `${project}/vpcs/default/routers/system/routes`)).items
  assert.deepEqual(route.target, { type: 'internet_gateway', value: 'outbound' })
  const { rules } = await nexus.ok('GET', `${project}/vpcs/default/firewall/rules`)
  assert.deepEqual(
    rules.map((rule: { name: string; priority: number }) => `${rule.name} ${rule.priority}`),
    ['allow-icmp 65534', 'allow-internal-inbound 65534', 'allow-rdp 65534', 'allow-ssh 65534'],
  )
})

test('names are taken once, and free again when deleted', async () => {
  await refused(
    'POST',
    '/organizations',
    { name: 'myorg', description: 'again' },
    {
      status: 400,
      code: 'ObjectAlreadyExists',
      message: 'already exists: organization "myorg"',
    },
  )
  await nexus.ok('POST', '/organizations', { name: 'brief', description: 'x' })
  await nexus.ok('DELETE', '/organizations/brief')
  await nexus.ok('POST', '/organizations', { name: 'brief', description: 'x' })
  await refused(
    'DELETE',
    '/organizations/myorg',
    undefined,
    invalid('organization to be deleted contains a project'),
  )
})

test('whatever the guide makes twice is refused by its kind and name, and made once', async () => {
  const text = { description: 'x' }
  const key = { name: 'k', ...text, public_key: 'ssh-ed25519 AAAA' }
  await nexus.ok('POST', '/session/me/sshkeys', key)
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id, 'twice'))
  const alpine = {
    name: 'alpine',
    ...text,
    block_size: 512,
    distribution: { name: 'alpine', version: 'propolis-blob' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  }
  for (const [url, body, what] of [
    ['/organizations/myorg/projects', { name: 'myproj', ...text }, 'project "myproj"'],
    ['/system/ip-pools', { name: 'mypool', ...text }, 'ip-pool "mypool"'],
    ['/system/images', alpine, 'global-image "alpine"'],
    ['/session/me/sshkeys', key, 'ssh-key "k"'],
    [`${project}/disks`, diskBody(image_id, 'twice'), 'disk "twice"'],
  ] as const) {
    const message = `already exists: ${what}`
    await refused('POST', url, body, { status: 400, code: 'ObjectAlreadyExists', message })
    assert.equal((await nexus.ok('GET', url)).items.length, 1, url)
  }
  const volumes = await nexus.block.list()
  assert.ok(volumes.ok && volumes.value.length === 1)
  assert.equal((await nexus.call('DELETE', `${project}/disks/twice`)).status, 204)
})

test('ranges may not overlap or run backwards, and hold their pool', async () => {
  const add = '/system/ip-pools/mypool/ranges/add'
  await refused(
    'POST',
    add,
    { first: '172.20.15.230', last: '172.20.15.250' },
    invalid('The provided IP range 172.20.15.230-172.20.15.250 overlaps with an existing range'),
  )
  const backwards = await nexus.call('POST', add, { first: '10.0.0.2', last: '10.0.0.1' })
  assert.equal(backwards.status, 400)
  assert.match(backwards.json.message, /IP address ranges must be non-decreasing/)
  await refused(
    'DELETE',
    '/system/ip-pools/mypool',
    undefined,
    invalid('IP Pool cannot be deleted while it contains IP ranges'),
  )
})

test('disks are checked in order and in words', async () => {
  const post = async (size: number, message: ReturnType<typeof value>) => {
    await refused('POST', `${project}/disks`, diskBody(image_id, 'd', size), message)
  }
  await post(104_857_600, value('size', 'total size must be at least 1 GiB'))
  await post(
    1_073_741_825,
    value('size', "total size must be a multiple of global image's block size"),
  )
  await post(1_610_612_736, value('size', 'total size must be a multiple of 1 GiB'))
  await refused('POST', `${project}/disks`, diskBody('11111111-1111-4111-8111-111111111111', 'd'), {
    status: 404,
    code: 'ObjectNotFound',
    message: 'not found: global-image with id "11111111-1111-4111-8111-111111111111"',
  })
  const made = await nexus.call('POST', `${project}//disks/`, diskBody(image_id))
  assert.equal(made.status, 201)
  assert.deepEqual(made.json.state, { state: 'creating' })
  assert.equal(made.json.device_path, '/mnt/alpine')
  const disk = await nexus.ok('GET', `${project}/disks/alpine`)
  assert.deepEqual(disk.state, { state: 'detached' })
})

test('instances are checked in words, and a refused one leaves nothing', async () => {
  const url = `${project}/instances`
  const body = instanceBody()
  const ip = { type: 'ephemeral' }
  await refused(
    'POST',
    url,
    { ...body, external_ips: [ip, ip] },
    invalid('An instance may not have more than 1 external IP addresses'),
  )
  await refused(
    'POST',
    url,
    { ...body, memory: 536_870_912 },
    value('size', 'memory must be at least 1 GiB'),
  )
  await refused(
    'POST',
    url,
    { ...body, memory: 1_610_612_736 },
    value('size', 'memory must be divisible by 1 GiB'),
  )
  const disks = Array.from({ length: 9 }, () => ({ type: 'attach', name: 'alpine' }))
  await refused(
    'POST',
    url,
    { ...body, disks },
    invalid('cannot attach more than 8 disks to instance!'),
  )
  await refused(
    'POST',
    url,
    { ...body, disks: [{ type: 'attach', name: 'ghost' }] },
    {
      status: 404,
      code: 'ObjectNotFound',
      message: 'not found: disk with name "ghost"',
    },
  )
  assert.deepEqual((await nexus.ok('GET', url)).items, [])
  assert.deepEqual(await nexus.store.selectFrom('external_ip').selectAll().execute(), [])
})

test('the instance of the guide runs, with its addresses', async () => {
  const made = await nexus.call('POST', `${project}/instances`, instanceBody())
  assert.equal(made.status, 201)
  // A quick sled has it running before the answer is written.
  assert.match(made.json.run_state, /^(starting|running)$/)
  await waitState('running')
  const [nic] = (await nexus.ok('GET', `${project}/instances/myinst/network-interfaces`)).items
  assert.equal(nic.ip, '172.30.0.5')
  assert.match(nic.mac, /^A8:40:25:F[0-9A-E]/)
  assert.equal(nic.description, 'default primary interface for myinst')
  assert.deepEqual(await nexus.ok('GET', `${project}/instances/myinst/external-ips`), {
    items: [{ ip: '172.20.15.228', kind: 'ephemeral' }],
    next_page: null,
  })
  const disk = await nexus.ok('GET', `${project}/disks/alpine`)
  assert.deepEqual(disk.state, { state: 'attached', instance: made.json.id })
  const again = await nexus.call('POST', `${project}/instances`, instanceBody())
  assert.equal(again.json.message, 'already exists: instance "myinst"')
})

test('what runs is protected, what is attached too', async () => {
  await refused(
    'DELETE',
    `${project}/instances/myinst`,
    undefined,
    invalid('instance cannot be deleted in state "running"'),
  )
  await refused(
    'DELETE',
    `${project}/disks/alpine`,
    undefined,
    invalid('disk cannot be deleted in state "attached"'),
  )
  await refused(
    'POST',
    `${project}/instances/myinst/disks/detach`,
    { name: 'alpine' },
    invalid('cannot detach disk from instance in running state'),
  )
  await refused('DELETE', project, undefined, invalid('project to be deleted contains an instance'))
  const other = { ...instanceBody('other'), external_ips: [] }
  await refused(
    'POST',
    `${project}/instances`,
    other,
    invalid('cannot attach disk "alpine": disk is attached to another instance'),
  )
  assert.equal((await nexus.ok('GET', `${project}/instances`)).items.length, 1)
})

test('the console is read by offset, from exactly one end', async () => {
  const url = `${project}/instances/myinst/serial-console`
  const read = await nexus.ok('GET', `${url}?from_start=0&max_bytes=20`)
  assert.equal(Buffer.from(read.data).toString(), 'This is simulated se')
  assert.equal(read.last_byte_offset, 20)
  const tail = await nexus.ok('GET', `${url}?most_recent=7`)
  assert.equal(Buffer.from(tail.data).toString(), 'login: ')
  for (const query of ['', '?from_start=0&most_recent=1']) {
    const answer = await nexus.call('GET', `${url}${query}`)
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, /Exactly one of 'from_start' or 'most_recent'/)
  }
})

test('stop, start, reboot and delete take the states that the guide says', async () => {
  const post = async (verb: string) =>
    await nexus.call('POST', `${project}/instances/myinst/${verb}`)
  assert.equal((await post('reboot')).status, 202)
  await waitState('running')
  const stop = await post('stop')
  assert.equal(stop.status, 202)
  assert.ok(['stopping', 'stopped'].includes(stop.json.run_state))
  await waitState('stopped')
  const refusedReboot = await post('reboot')
  assert.equal(refusedReboot.json.message, 'cannot reboot instance in state "stopped"')
  assert.equal(refusedReboot.status, 400)
  assert.equal((await post('start')).status, 202)
  await waitState('running')
  await post('stop')
  await waitState('stopped')
  assert.equal((await nexus.call('DELETE', `${project}/instances/myinst`)).status, 204)
  assert.deepEqual((await nexus.ok('GET', `${project}/disks/alpine`)).state, { state: 'detached' })
  const live = await nexus.store
    .selectFrom('external_ip')
    .select('id')
    .where('time_deleted_ms', 'is', null)
    .execute()
  assert.deepEqual(live, [])
  assert.equal((await nexus.call('DELETE', `${project}/disks/alpine`)).status, 204)
  const volumes = await nexus.block.list()
  assert.ok(volumes.ok && volumes.value.length === 0)
})

const status = async (method: 'GET' | 'POST', url: string, body?: unknown) =>
  (await nexus.call(method, url, body, unprivileged)).status

test('the unprivileged user sees what the guide says and no more', async () => {
  assert.equal(await status('GET', '/organizations'), 403)
  assert.equal(await status('GET', '/organizations/myorg'), 404)
  assert.equal(await status('GET', project), 404)
  assert.equal(await status('GET', '/system/images'), 200)
  assert.equal(await status('POST', '/system/ip-pools', { name: 'p', description: '' }), 403)
  assert.equal(await status('POST', '/organizations', { name: 'p', description: '' }), 403)
  assert.equal(await status('GET', '/system/hardware/sleds'), 403)
  assert.equal(await status('GET', '/session/me'), 200)
})

test('a token from the device flow works, once confirmed', async () => {
  const client_id = '77777777-7777-4777-8777-777777777777'
  const form = async (url: string, fields: Record<string, string>) =>
    await nexus.raw({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/x-www-form-urlencoded', host: 'nexus' },
      payload: new URLSearchParams(fields).toString(),
    })
  const begun = (await form('/device/auth', { client_id })).json
  assert.match(begun.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
  const grant = {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id,
    device_code: begun.device_code,
  }
  assert.deepEqual((await form('/device/token', grant)).json, { error: 'authorization_pending' })
  const confirmed = await nexus.call('POST', '/device/confirm', { user_code: begun.user_code })
  assert.equal(confirmed.status, 204)
  const { access_token } = (await form('/device/token', grant)).json
  assert.equal((await nexus.call('GET', '/session/me', undefined, access_token)).status, 200)
  assert.deepEqual((await form('/device/token', grant)).json, { error: 'authorization_pending' })
  const rows = await nexus.store.selectFrom('device_access_token').selectAll().execute()
  assert.ok(!JSON.stringify(rows).includes(access_token.replace('oxide-token-', '')))
})

test('a session cookie logs in and out', async () => {
  const login = await nexus.call('POST', '/login', { username: 'privileged' }, null)
  assert.equal(login.status, 204)
  const cookie = String(login.headers['set-cookie'])
  assert.match(cookie, /^session=[0-9a-f]{40}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=3600$/)
  const headers = { cookie: cookie.split(';')[0] ?? '' }
  const me = async () => (await nexus.raw({ method: 'GET', url: '/session/me', headers })).status
  assert.equal(await me(), 200)
  assert.equal((await nexus.raw({ method: 'POST', url: '/logout', headers })).status, 204)
  assert.equal(await me(), 401)
})
