import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs'
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
