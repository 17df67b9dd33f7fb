import assert from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { onTerminal, type Played, type Step } from '#test/kit/terminal.ts'
import { cleanEnv, fakeApi, oxideEntry, scratch, type Asked, type Routes } from './kit.ts'

interface Typist {
  readonly asked: Asked[]
  readonly play: (args: readonly string[], steps: readonly Step[]) => Promise<Played>
}

async function typist(
  context: TestContext,
  routes: Routes,
  env: Readonly<Record<string, string>> = {},
): Promise<Typist> {
  const api = await fakeApi(context, routes)
  const variables = cleanEnv({ OXIDE_HOST: api.host, OXIDE_TOKEN: 'x', ...env })
  return {
    asked: api.asked,
    play: async (args, steps) =>
      await onTerminal([process.execPath, oxideEntry, ...args], steps, variables),
  }
}

test('on a terminal org create asks for a description until there is one', async (t) => {
  const { asked, play } = await typist(t, {
    'POST /organizations': () => ({ status: 201, body: {} }),
  })
  const played = await play(
    ['org', 'create', 'myorg'],
    [
      { expect: 'organization description:' },
      { send: '\r' },
      { expect: 'organization description:' },
      { send: 'my own\r' },
      { expect: 'Created organization myorg' },
    ],
  )
  assert.equal(played.code, 0)
  assert.deepEqual(JSON.parse(asked[0]?.body ?? ''), { name: 'myorg', description: 'my own' })
  assert.ok(played.output.includes('\u001b[32m✔\u001b[0m Created organization myorg'))
})

test('deletion wants the name typed; a wrong one is asked for again', async (t) => {
  const { asked, play } = await typist(t, {
    'DELETE /organizations/o/projects/p/disks/d': () => ({ status: 204 }),
  })
  const played = await play(
    ['disk', 'delete', 'd', '-o', 'o', '-p', 'p'],
    [
      { expect: 'Type d to confirm deletion:' },
      { send: 'no\r' },
      { expect: 'mismatched confirmation' },
      { expect: 'Type d to confirm deletion:' },
      { send: 'd\r' },
      { expect: 'Deleted disk d from o/p' },
    ],
  )
  assert.equal(played.code, 0)
  assert.equal(asked.length, 1)
})

test('a prompt that is left deletes nothing and leaves the terminal as it was', async (t) => {
  const { asked, play } = await typist(t, {})
  for (const key of ['\u0003', '\u0004']) {
    const played = await play(
      ['instance', 'stop', 'i', '-o', 'o', '-p', 'p'],
      [{ expect: 'Type i to confirm stop:' }, { send: key }],
    )
    assert.deepEqual([played.code, played.restored], [1, true])
  }
  assert.deepEqual(asked, [])
})

test('prompts can be switched off', async (t) => {
  const config = scratch(t)
  writeFileSync(join(config, 'config.toml'), 'prompt = "disabled"\n')
  const { play } = await typist(t, {}, { OXIDE_CONFIG_DIR: config })
  const played = await play(['org', 'delete', 'o'], [])
  assert.equal(played.code, 1)
  assert.equal(played.output, '--confirm required when not running interactively\r\n')
})

test('waiting shows the state it waits for and takes it off again', async (t) => {
  const states = ['stopping', 'stopping', 'stopped']
  const where = '/organizations/o/projects/p/instances/i'
  const { play } = await typist(t, {
    [`POST ${where}/stop`]: () => ({ status: 202, body: {} }),
    [`GET ${where}`]: () => ({ status: 200, body: { run_state: states.shift() } }),
  })
  const played = await play(['instance', 'stop', 'i', '-o', 'o', '-p', 'p', '--confirm'], [])
  assert.match(played.output, /Waiting for instance status to be `stopped` \[stopping\]/)
  assert.ok(played.output.endsWith('\r\u001b[K\u001b[32m✘\u001b[0m Stopped instance i in o/p\r\n'))
})

test('auth login opens the browser that OXIDE_BROWSER names', async (t) => {
  const directory = scratch(t)
  const [browser, seen] = [join(directory, 'browser'), join(directory, 'seen')]
  writeFileSync(browser, `#!/bin/sh\necho "$@" >${seen}.new && mv ${seen}.new ${seen}\n`)
  chmodSync(browser, 0o755)
  const page = 'http://rack/device/verify?user_code=BCDF-GHJK'
  const { play } = await typist(
    t,
    {
      'POST /device/auth': () => ({
        status: 200,
        body: {
          device_code: 'dc',
          user_code: 'BCDF-GHJK',
          verification_uri: 'http://rack/device/verify',
          verification_uri_complete: page,
          expires_in: 300,
          interval: 0.3,
        },
      }),
      'POST /device/token': () => ({ status: 200, body: { access_token: 'oxide-token-1' } }),
      'GET /session/me': () => ({ status: 200, body: { id: 'user-1' } }),
    },
    { OXIDE_BROWSER: `${browser} --new-window`, OXIDE_CONFIG_DIR: directory },
  )
  const played = await play(
    ['auth', 'login'],
    [
      { expect: `Opening ${page} in your browser.` },
      { expect: 'Please verify user code: BCDF-GHJK' },
      { expect: 'Logged in as user-1' },
    ],
  )
  assert.equal(played.code, 0)
  assert.equal(readFileSync(seen, 'utf8'), `--new-window ${page}\n`)
})
