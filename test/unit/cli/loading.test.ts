/** What programs load at their start: each module is read, and most of a short command's time is that. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { cleanEnv, runProgram } from './kit.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const hook = `import { registerHooks } from 'node:module'
registerHooks({
  load: (url, context, next) => {
    process.stderr.write('loads ' + url + '\\n')
    return next(url, context)
  },
})`

/** The modules that a program loads, by their paths in the repository. */
async function loadedBy(entry: string, ...args: readonly string[]): Promise<readonly string[]> {
  const preload = `data:text/javascript,${encodeURIComponent(hook)}`
  const { stderr } = await runProgram(
    [process.execPath, '--import', preload, join(root, entry), ...args],
    cleanEnv({}),
  )
  const loaded = [...stderr.matchAll(/^loads file:\/\/(.*)$/gm)].map(([, path = '']) => path)
  assert.ok(loaded.includes(join(root, entry)), stderr)
  return loaded.map((path) => path.slice(root.length))
}

const among = (loaded: readonly string[], part: RegExp) => loaded.filter((path) => part.test(path))

test('luge loads a verb when it runs', async () => {
  const help = await loadedBy('runtime/bin/luge.ts', '--help')
  assert.deepEqual(among(help, /^actors\/|^native\/|bin\/rack\/(?!layout)|typebox/), [])
  const down = await loadedBy('runtime/bin/luge.ts', 'rack', 'down', '--state', '/nonexistent')
  assert.deepEqual(among(down, /nexus\/routes|undici|@peculiar|bin\/rack\/(up|status)\.ts/), [])
})

test('a thread of a sled does without what fetches images, reads revocations and compiles schemas', async () => {
  // Started alone it ends at once, with all that it imports loaded.
  const thread = await loadedBy('runtime/bin/thread.ts')
  assert.deepEqual(among(thread, /\/(undici|@peculiar)\/|typebox\/build\/compile\//), [])
})
