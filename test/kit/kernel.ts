/** What a rack has in the kernel and on disk, as other programs see it: equal before and after, or not. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { attempt, containers, processesOf } from './rack.ts'

const lines = (file: string, args: readonly string[]) =>
  attempt(file, args).stdout.split('\n').filter(Boolean)

/**
 * Every namespace of the rack with its links, addresses, routes, neighbours and rules, its
 * containers, its processes by program, and the files of guests and volumes, one a line. Processes
 * that a supervisor runs only to look at its zones come and go: a process counts when it is there
 * before and after the rest was looked at.
 */
export function kernelObjects(tag: string, state: string): readonly string[] {
  const sled = join(state, 'sled1')
  const before = new Set(processesOf(state).map(({ pid }) => pid))
  const found: string[] = []
  for (const name of readdirSync('/run/netns').filter((each) => each.startsWith(`ox${tag}_`))) {
    const seen = (kind: string, all: readonly string[]) => {
      found.push(...all.map((line) => `${name} ${kind} ${line.trim()}`))
    }
    const ip = (...args: readonly string[]) => lines('ip', ['-n', name, ...args])
    seen(
      'link',
      ip('-br', 'link').map((line) => line.split(/\s+/)[0] ?? ''),
    )
    seen('address', ip('-br', 'addr'))
    seen('route', ip('route', 'show', 'table', 'all'))
    seen('proxy', ip('neigh', 'show', 'proxy'))
    seen('rule', withoutCounts(lines('ip', ['netns', 'exec', name, 'nft', 'list', 'ruleset'])))
  }
  found.push(...[...containers(join(sled, 'crun')).matchAll(/^oxz_\S+/gm)].flat())
  for (const folder of ['zones', 'instances', 'volumes', 'nbd', 'qmp']) {
    const path = join(sled, folder)
    if (existsSync(path)) found.push(...readdirSync(path).map((name) => `${folder}/${name}`))
  }
  for (const { pid, command } of processesOf(state)) {
    if (before.has(pid)) found.push(`process ${command.split(' ')[0] ?? ''}`)
  }
  return found.toSorted()
}

const withoutCounts = (rules: readonly string[]) =>
  rules.map((rule) => rule.replace(/packets \d+ bytes \d+/, '').replace(/expires \S+/, ''))
