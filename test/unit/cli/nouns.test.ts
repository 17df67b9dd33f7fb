import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fakeApi, oxide, refused, scratch, type FakeApi, type Routes } from './kit.ts'

const token = 'oxide-spoof-001de000-05e4-4000-8000-000000004007'
const time = '2022-11-11T12:00:00.000000Z'
const id = '11111111-1111-4111-8111-111111111111'
const orgView = {
  id,
  name: 'myorg',
  description: 'an org',
  time_created: time,
  time_modified: time,
}
const p = '/organizations/myorg/projects/myproj'
const where = ['-o', 'myorg', '-p', 'myproj']

const serve = async (
  context: TestContext,
  routes: Routes,
): Promise<FakeApi & { readonly env: Readonly<Record<string, string>> }> => {
  const api = await fakeApi(context, routes)
  return { ...api, env: { OXIDE_HOST: api.host, OXIDE_TOKEN: token } }
}

const bodyOf = (api: FakeApi, at = -1): unknown => JSON.parse(api.asked.at(at)?.body ?? '')

test('org create sends name, description and token, and says what it made', async (t) => {
  const api = await serve(t, { 'POST /organizations': () => ({ status: 201, body: orgView }) })
  const ran = await oxide(['org', 'create', 'myorg', '-D', 'an org'], api.env)
  assert.deepEqual(ran, { code: 0, stdout: '✔ Created organization myorg\n', stderr: '' })
  assert.deepEqual(bodyOf(api), { name: 'myorg', description: 'an org' })
  assert.equal(api.asked[0]?.headers['content-type'], 'application/json')
  assert.equal(api.asked[0]?.headers.authorization, `Bearer ${token}`)
})

test('without a terminal what is missing is named, and nothing is asked of the server', async (t) => {
  const api = await serve(t, {})
  const cases: readonly (readonly [readonly string[], string, number])[] = [
    [['org', 'create', 'myorg'], '-D|--description required in non-interactive mode', 1],
    [['org', 'create'], '[organization] required in non-interactive mode', 1],
    [['project', 'create', 'p'], '-o|--organization required in non-interactive mode', 1],
    [['disk', 'create', 'd', '-o', 'x'], '-p|--project required in non-interactive mode', 1],
    [['org', 'delete', 'myorg'], '--confirm required when not running interactively', 1],
    [['instance', 'stop', 'i', ...where], '--confirm required when not running interactively', 1],
    [['org', 'list', '--limit', '0'], '--limit must be greater than 0', 1],
    [['project', 'list'], '-o|--organization required: name it, or set OXIDE_ORG', 2],
    [['disk', 'list', '-o', 'x'], '-p|--project required', 2],
    [['org', 'edit', 'x'], 'nothing to edit: give --new-name or --description', 2],
    [
      ['org', 'list', '--limit', 'ten'],
      '--limit must be a whole number from 0 to 4294967295, not "ten"',
      2,
    ],
  ]
  for (const [args, sentence, code] of cases) {
    const ran = await oxide(args, api.env)
    assert.deepEqual(ran, { code, stdout: '', stderr: `${sentence}\n` }, args.join(' '))
  }
  assert.deepEqual(api.asked, [])
})

test('every refusal of the API has its sentence', async (t) => {
  const answers = [
    refused(404, 'ObjectNotFound', 'not found: organization with name "x"'),
    refused(400, 'ObjectAlreadyExists', 'already exists: organization "myorg"'),
    refused(400, 'InvalidRequest', 'no such thing'),
    refused(400, 'InvalidValue', 'unsupported value for "size": too big'),
    refused(401, 'Unauthorized', 'credentials missing or invalid'),
    refused(403, 'Forbidden', 'Forbidden'),
    refused(500, 'Internal', 'Internal Server Error'),
    refused(503, 'ServiceNotAvailable', 'Service Unavailable'),
    refused(405, 'MethodNotAllowed', 'cannot do that here'),
    refused(
      400,
      null,
      'unable to parse JSON body: name must begin with an ASCII lowercase character',
    ),
    { status: 502, body: 'Bad gateway\n' },
    { status: 413 },
  ]
  const sentences = [
    '✘ Object not found: not found: organization with name "x"',
    '✘ Object already exists: already exists: organization "myorg"',
    '✘ Invalid request: no such thing',
    '✘ Invalid value: unsupported value for "size": too big',
    '✘ You are not authenticated: credentials missing or invalid\nTry authenticating with: `oxide auth login`',
    '✘ You are not authorized to perform this action',
    '✘ Oxide API internal error: Internal Server Error',
    '✘ Oxide API service unavailable: Service Unavailable',
    'cannot do that here',
    'unable to parse JSON body: name must begin with an ASCII lowercase character',
    'Bad gateway',
    '413 Payload Too Large',
  ]
  let turn = 0
  const api = await serve(t, { 'GET /organizations/x': () => answers[turn] ?? { status: 500 } })
  for (const sentence of sentences) {
    const ran = await oxide(['org', 'view', 'x'], api.env)
    assert.deepEqual(ran, { code: 1, stdout: '', stderr: `${sentence}\n` })
    turn += 1
  }
})

test('a server that is not there is one sentence', async (t) => {
  const api = await fakeApi(t, {})
  api.server.close()
  const ran = await oxide(['org', 'list'], { OXIDE_HOST: api.host, OXIDE_TOKEN: token })
  assert.equal(ran.code, 1)
  const port = new URL(api.host).port
  assert.equal(
    ran.stderr,
    `✘ Cannot reach the Oxide API at ${api.host} (connect ECONNREFUSED 127.0.0.1:${port}): check OXIDE_HOST and that the rack is up\n`,
  )
})

test('unknown commands and flags are one sentence and exit 2', async () => {
  const nobody = {}
  const cases: readonly (readonly [readonly string[], string])[] = [
    [['frob'], "✘ unknown command 'frob'"],
    [['org', 'frob'], "✘ unknown command 'frob'"],
    [['org', 'list', '--frob'], "✘ unknown option '--frob'"],
    [['org', 'view'], "✘ missing required argument 'name'"],
    [
      ['org', 'view', 'a', 'b'],
      "✘ too many arguments for 'view'. Expected 1 argument but got 2: a, b.",
    ],
    [
      ['org', 'list', '-f', 'xml'],
      "✘ option '-f, --format <format>' argument 'xml' is invalid. Allowed choices are table, json, yaml.",
    ],
    [
      ['org', 'list'],
      'no API host is known: set OXIDE_HOST or run `oxide auth login --host ADDRESS`',
    ],
  ]
  for (const [args, sentence] of cases) {
    assert.deepEqual(await oxide(args, nobody), { code: 2, stdout: '', stderr: `${sentence}\n` })
  }
})

test('list prints a table, JSON or YAML, by the flag or by config.toml', async (t) => {
  const page = { items: [orgView], next_page: 'more' }
  const api = await serve(t, { 'GET /organizations': () => ({ status: 200, body: page }) })
  const table = [
    ` name  | description | id                                   | time_created                | time_modified`,
    `-------+-------------+--------------------------------------+-----------------------------+-----------------------------`,
    ` myorg | an org      | ${id} | ${time} | ${time}`,
    '',
  ].join('\n')
  const asTable = await oxide(['orgs', 'list'], api.env)
  assert.deepEqual(asTable, { code: 0, stdout: table, stderr: '' })
  assert.equal(api.asked[0]?.url, '/organizations?limit=30')

  const json = await oxide(['organization', 'list', '-f', 'json', '-l', '5'], api.env)
  const sorted = [
    { description: 'an org', id, name: 'myorg', time_created: time, time_modified: time },
  ]
  assert.equal(json.stdout, `${JSON.stringify(sorted, null, 2)}\n`)
  assert.equal(api.asked[1]?.url, '/organizations?limit=5')

  const config = scratch(t)
  writeFileSync(join(config, 'config.toml'), 'format = "yaml"\n')
  const yaml = await oxide(['org', 'list', '-s', 'id_ascending'], {
    ...api.env,
    OXIDE_CONFIG_DIR: config,
  })
  assert.equal(
    yaml.stdout,
    `---\n- description: an org\n  id: "${id}"\n  name: myorg\n  time_created: "${time}"\n  time_modified: "${time}"\n`,
  )
  assert.equal(api.asked[2]?.url, '/organizations?limit=30&sort_by=id_ascending')
})

test('list --paginate follows pages until one is empty', async (t) => {
  const pages: Readonly<Record<string, unknown>> = {
    '': { items: [{ name: 'a' }, { name: 'b' }], next_page: 'two' },
    two: { items: [{ name: 'c' }], next_page: 'three' },
    three: { items: [], next_page: null },
  }
  const api = await serve(t, {
    'GET /organizations': ({ query }) => ({
      status: 200,
      body: pages[query.get('page_token') ?? ''],
    }),
  })
  const ran = await oxide(['org', 'list', '--paginate', '-f', 'json'], api.env)
  assert.deepEqual(JSON.parse(ran.stdout), [{ name: 'a' }, { name: 'b' }, { name: 'c' }])
  assert.equal(api.asked.length, 3)
})

test('view shows every field on a line; an id is looked up wherever it is', async (t) => {
  const api = await serve(t, {
    'GET /organizations/myorg': () => ({ status: 200, body: orgView }),
    [`GET /by-id/disks/${id}`]: () => ({
      status: 200,
      body: { name: 'd', state: { state: 'detached' } },
    }),
  })
  const ran = await oxide(['org', 'view', 'myorg'], api.env)
  assert.equal(
    ran.stdout,
    [
      ' name          | myorg',
      ' description   | an org',
      ` id            | ${id}`,
      ` time_created  | ${time}`,
      ` time_modified | ${time}`,
      '',
    ].join('\n'),
  )
  const disk = await oxide(['disk', 'view', id], api.env)
  assert.equal(disk.stdout, ' name  | d\n state | detached\n')
})

test('edit sends only what changes and says the new name', async (t) => {
  const api = await serve(t, {
    'PUT /organizations/myorg': () => ({ status: 200, body: { ...orgView, name: 'ourorg' } }),
  })
  const ran = await oxide(['org', 'edit', 'myorg', '--new-name', 'ourorg'], api.env)
  assert.deepEqual(ran, {
    code: 0,
    stdout: '✔ Edited organization myorg -> ourorg\n',
    stderr: '',
  })
  assert.deepEqual(bodyOf(api), { name: 'ourorg' })
})

test('project commands take the organization from OXIDE_ORG', async (t) => {
  const api = await serve(t, {
    'POST /organizations/myorg/projects': () => ({ status: 201, body: { name: 'myproj' } }),
    [`DELETE ${p}`]: () => ({ status: 204 }),
  })
  const env = { ...api.env, OXIDE_ORG: 'myorg' }
  const made = await oxide(['project', 'create', 'myproj', '-D', 'x'], env)
  assert.equal(made.stdout, '✔ Created project myorg/myproj\n')
  const gone = await oxide(['project', 'delete', 'myproj', '--confirm'], env)
  assert.deepEqual(gone, { code: 0, stdout: '✔ Deleted project myorg/myproj\n', stderr: '' })
})

test('disk create sends one source: blank, a global image by name, or a snapshot', async (t) => {
  const api = await serve(t, {
    [`POST ${p}/disks`]: () => ({ status: 201, body: {} }),
    'GET /system/images/alpine': () => ({ status: 200, body: { id, name: 'alpine' } }),
  })
  const create = ['disk', 'create', 'd', ...where, '-D', 'x', '--size']
  const blank = await oxide([...create, '1GiB'], api.env)
  assert.deepEqual(blank, {
    code: 0,
    stdout: '✔ Created disk d in myorg/myproj\n',
    stderr: '',
  })
  const common = { name: 'd', description: 'x', size: 1_073_741_824 }
  assert.deepEqual(bodyOf(api), { ...common, disk_source: { type: 'blank', block_size: 512 } })

  await oxide([...create, '1073741824', '--image', 'alpine'], api.env)
  assert.deepEqual(bodyOf(api), { ...common, disk_source: { type: 'global_image', image_id: id } })

  await oxide([...create, '1g', '--snapshot', id], api.env)
  assert.deepEqual(bodyOf(api), { ...common, disk_source: { type: 'snapshot', snapshot_id: id } })

  const both = await oxide([...create, '1g', '--snapshot', id, '--image', 'alpine'], api.env)
  assert.equal(both.code, 2)
  const size = await oxide([...create, 'big'], api.env)
  assert.equal(size.stderr, '--size must be a size such as 1073741824 or 1GiB, not "big"\n')
})

test('disk attach and detach name the disk to the instance', async (t) => {
  const api = await serve(t, {
    [`POST ${p}/instances/myinst/disks/attach`]: () => ({ status: 202, body: {} }),
    [`POST ${p}/instances/myinst/disks/detach`]: () =>
      refused(400, 'InvalidRequest', 'cannot detach disk from instance in running state'),
  })
  const attached = await oxide(['disk', 'attach', 'alpine', 'myinst', ...where], api.env)
  assert.deepEqual(attached, {
    code: 0,
    stdout: '✔ Attached disk alpine to instance myinst in project myorg/myproj\n',
    stderr: '',
  })
  assert.deepEqual(bodyOf(api), { name: 'alpine' })
  const detached = await oxide(['disk', 'detach', 'alpine', 'myinst', ...where], api.env)
  assert.equal(
    detached.stderr,
    '✘ Invalid request: cannot detach disk from instance in running state\n',
  )
})

test('instance create sends the whole body', async (t) => {
  const api = await serve(t, { [`POST ${p}/instances`]: () => ({ status: 201, body: {} }) })
  const userData = join(scratch(t), 'user-data')
  writeFileSync(userData, '#!/bin/sh\n')
  const flags = ['-D', 'my inst', '-m', '1GiB', '-c', '2', '--disk', 'a', '--disk', 'b']
  const more = ['--ephemeral-ip', '--user-data', userData, '--no-start', '-H', 'host']
  const ran = await oxide(['instance', 'create', 'myinst', ...where, ...flags, ...more], api.env)
  assert.deepEqual(ran, {
    code: 0,
    stdout: '✔ Created instance myinst in myorg/myproj\n',
    stderr: '',
  })
  assert.deepEqual(bodyOf(api), {
    name: 'myinst',
    description: 'my inst',
    hostname: 'host',
    memory: 1_073_741_824,
    ncpus: 2,
    disks: [
      { type: 'attach', name: 'a' },
      { type: 'attach', name: 'b' },
    ],
    external_ips: [{ type: 'ephemeral' }],
    user_data: Buffer.from('#!/bin/sh\n').toString('base64'),
    start: false,
  })
})

test('start, stop and reboot wait for the state and say so', async (t) => {
  let states: string[] = []
  const deed = () => ({ status: 202, body: { run_state: states[0] } })
  const api = await serve(t, {
    [`POST ${p}/instances/myinst/start`]: deed,
    [`POST ${p}/instances/myinst/stop`]: deed,
    [`POST ${p}/instances/myinst/reboot`]: deed,
    [`GET ${p}/instances/myinst`]: () => ({
      status: 200,
      body: { run_state: states.length > 1 ? states.shift() : states[0] },
    }),
  })
  states = ['starting', 'starting', 'running']
  const started = await oxide(['instance', 'start', 'myinst', ...where], api.env)
  assert.deepEqual(started, {
    code: 0,
    stdout: '✔ Started instance myinst in myorg/myproj\n',
    stderr: '',
  })
  assert.equal(api.asked.filter(({ method }) => method === 'GET').length, 3)
  states = ['stopping', 'stopped']
  const stopped = await oxide(['instance', 'stop', 'myinst', ...where, '--confirm'], api.env)
  assert.equal(stopped.stdout, '✘ Stopped instance myinst in myorg/myproj\n')
  assert.equal(stopped.code, 0)
  states = ['rebooting', 'running']
  const rebooted = await oxide(['instance', 'reboot', 'myinst', ...where, '--confirm'], api.env)
  assert.equal(rebooted.stdout, '✔ Rebooted instance myinst in myorg/myproj\n')
  states = ['starting', 'failed']
  const failed = await oxide(['instance', 'start', 'myinst', ...where], api.env)
  assert.deepEqual(failed, {
    code: 1,
    stdout: '',
    stderr: '✘ Instance myinst is failed and will not be running\n',
  })
})

test('instance disks, edit and delete', async (t) => {
  const disk = { name: 'alpine', state: { state: 'attached', instance: id } }
  const api = await serve(t, {
    [`GET ${p}/instances/myinst/disks`]: ({ query }) => ({
      status: 200,
      body: query.has('page_token')
        ? { items: [], next_page: null }
        : { items: [disk], next_page: 'x' },
    }),
    [`DELETE ${p}/instances/myinst`]: () => ({ status: 204 }),
  })
  const disks = await oxide(['instance', 'disks', 'myinst', ...where, '-f', 'json'], api.env)
  assert.deepEqual(JSON.parse(disks.stdout), [disk])
  const edit = await oxide(['instance', 'edit', 'myinst', ...where], api.env)
  assert.deepEqual(edit, { code: 0, stdout: 'Not implemented yet in omicron.\n', stderr: '' })
  const gone = await oxide(['instance', 'delete', 'myinst', ...where, '--confirm'], api.env)
  assert.equal(gone.stdout, '✔ Deleted instance myinst from myorg/myproj\n')
})

test('vpcs, images, racks, sleds and keys are listed from where the API keeps them', async (t) => {
  const page = { items: [], next_page: null }
  const routes: Readonly<Record<string, readonly string[]>> = {
    [`${p}/vpcs`]: ['vpc', 'list', ...where],
    '/system/images': ['image', 'list'],
    '/system/hardware/racks': ['rack', 'list'],
    '/system/hardware/sleds': ['sleds', 'list'],
    '/session/me/sshkeys': ['ssh-key', 'list'],
  }
  for (const [path, args] of Object.entries(routes)) {
    const api = await serve(t, { [`GET ${path}`]: () => ({ status: 200, body: page }) })
    const ran = await oxide(args, api.env)
    assert.equal(ran.code, 0, ran.stderr)
    assert.match(ran.stdout, /^ (name|id) .*\n-+\+/)
  }
})

test('ssh-key create takes the key from a file', async (t) => {
  const api = await serve(t, { 'POST /session/me/sshkeys': () => ({ status: 201, body: {} }) })
  const file = join(scratch(t), 'id.pub')
  writeFileSync(file, 'ssh-ed25519 AAAA me\n')
  const ran = await oxide(['ssh-key', 'create', 'mine', '-D', 'x', '--file', file], api.env)
  assert.deepEqual(ran, { code: 0, stdout: '✔ Created SSH key mine\n', stderr: '' })
  assert.deepEqual(bodyOf(api), {
    name: 'mine',
    description: 'x',
    public_key: 'ssh-ed25519 AAAA me',
  })
  const missing = await oxide(
    ['ssh-key', 'create', 'mine', '-D', 'x', '--file', '/nonexistent/key'],
    api.env,
  )
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /^cannot read \/nonexistent\/key: /)
})

test('a name that is no name cannot reach another path', async (t) => {
  const api = await serve(t, {})
  await oxide(['org', 'view', '../system/images?x#y'], api.env)
  assert.equal(api.asked[0]?.url, '/organizations/..%2Fsystem%2Fimages%3Fx%23y')
})

test('colours are for terminals: NO_COLOR and CLICOLOR_FORCE are heard', async (t) => {
  const api = await serve(t, { 'GET /x': () => ({ status: 200, body: { a: 1 } }) })
  const coloured = await oxide(['api', 'x'], { ...api.env, CLICOLOR_FORCE: '1' })
  assert.ok(coloured.stdout.includes('\u001b['))
  const forced = await oxide(['api', 'x'], { ...api.env, OXIDE_FORCE_TTY: '1' })
  assert.ok(forced.stdout.includes('\u001b['))
  const none = await oxide(['api', 'x'], { ...api.env, OXIDE_FORCE_TTY: '1', NO_COLOR: '1' })
  assert.ok(!none.stdout.includes('\u001b['))
})
