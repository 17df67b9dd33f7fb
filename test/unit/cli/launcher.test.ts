import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { cleanEnv, runProgram, scratch } from './kit.ts'

const tools = fileURLToPath(new URL('../../../tools/', import.meta.url))

test('tools/oxide runs through links, absolute and relative, from any directory', async (t) => {
  const directory = scratch(t)
  symlinkSync(join(tools, 'oxide'), join(directory, 'absolute'))
  symlinkSync('absolute', join(directory, 'relative'))
  for (const name of ['absolute', 'relative']) {
    const ran = await runProgram([join(directory, name), 'version'], cleanEnv({}))
    assert.match(ran.stdout, /^oxide \d+\.\d+\.\d+\n$/)
    assert.equal(ran.code, 0)
  }
})

test('without npm ci the launchers say what to do', async (t) => {
  const root = join(scratch(t), 'clone')
  mkdirSync(join(root, 'tools'), { recursive: true })
  for (const name of ['oxide', 'luge']) {
    const launcher = join(root, 'tools', name)
    copyFileSync(join(tools, name), launcher)
    assert.deepEqual(await runProgram([launcher, 'version'], cleanEnv({})), {
      code: 1,
      stdout: '',
      stderr: `${name}: no node in ${root}/node_modules: run 'npm ci' in ${root} first\n`,
    })
  }
})

test('the launchers keep what was compiled, and start where nothing can be kept', async (t) => {
  const root = join(scratch(t), 'clone')
  for (const path of ['tools', 'runtime/bin', 'node_modules/.bin']) {
    mkdirSync(join(root, path), { recursive: true })
  }
  symlinkSync(process.execPath, join(root, 'node_modules/.bin/node'))
  const program = `import { getCompileCacheDir } from 'node:module'
import { Worker } from 'node:worker_threads'
console.log(getCompileCacheDir() ?? 'nowhere')
new Worker("console.log(require('module').getCompileCacheDir() ?? 'nowhere')", { eval: true })`
  const cache = join(root, 'node_modules/.cache')
  for (const name of ['oxide', 'luge']) {
    copyFileSync(join(tools, name), join(root, 'tools', name))
    writeFileSync(join(root, `runtime/bin/${name}.ts`), program)
    const kept = await runProgram([join(root, 'tools', name)], cleanEnv({}))
    const [main = '', thread] = kept.stdout.split('\n')
    assert.ok(main.startsWith(join(cache, 'luge/')), kept.stdout)
    assert.equal(thread, main)
    rmSync(cache, { recursive: true })
    writeFileSync(cache, 'a file where the directory would be')
    const { stdout, code } = await runProgram([join(root, 'tools', name)], cleanEnv({}))
    assert.deepEqual([stdout, code], ['nowhere\nnowhere\n', 0])
    rmSync(cache)
  }
})
