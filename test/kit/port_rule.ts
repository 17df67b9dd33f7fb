import type { PortRule } from '#native/platform/ports.ts'

/** A rule of a port that allows everything in, but for what is given. */
export const portRule = (given: Partial<PortRule> = {}): PortRule => ({
  status: 'enabled',
  direction: 'inbound',
  targets: [],
  filter_hosts: null,
  filter_ports: null,
  filter_protocols: null,
  action: 'allow',
  priority: 65_534,
  ...given,
})
