/** Which thread of the supervisor hosts which kind of actor, in the order they start. */
import type { SledConfig } from '#config/sled.ts'

export const threadNames = ['journal', 'net', 'dns', 'storage', 'zone', 'compute'] as const

export const routes: Readonly<Record<string, string>> = {
  sled: 'main',
  journal: 'journal',
  dns: 'dns',
  disk: 'storage',
  vnic: 'net',
  network: 'net',
  zone: 'zone',
  instance: 'compute',
  console: 'compute',
}

/** The namespace that holds the sled's own network. */
export const sledNetns = (config: Pick<SledConfig, 'tag'>): string =>
  `/run/netns/ox${config.tag}_gz`
