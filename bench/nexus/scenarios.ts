/** What the API is measured at. Adding one is adding a row. */
import { least, most, type Scenario } from '../scenario.ts'
import {
  creation,
  diskPages,
  instancePage,
  instanceViews,
  onPostgres,
  onSqlite,
  type Load,
} from './entrants.ts'

const base = { regime: 'free cores', operations: null } as const
const few = 16
const bare = 'bare fastify, same read'
const against = (load: Load) => ({
  ours: onSqlite('luge', 'luge', load),
  peers: [onSqlite(bare, 'fastify', load)],
})
const disks = (count: number) => ({ paths: diskPages(count), connections: few })

export const scenarios: readonly Scenario[] = [
  {
    ...base,
    name: 'list: instances, 100 a page',
    metrics: { rate: [least(bare, 0.5)], cpu: [most(bare, 2)], p99: [] },
    ...against({ paths: instancePage, connections: few }),
  },
  {
    ...base,
    name: 'view: an instance by name',
    metrics: { rate: [least(bare, 0.5)], cpu: [most(bare, 2)], p99: [] },
    ...against({ paths: instanceViews, connections: few }),
  },
  {
    ...base,
    name: 'page: 100 disks among a million',
    metrics: { rate: [least('luge, 100 disks', 0.8)], cpu: [most('luge, 100 disks', 1.25)] },
    ours: onSqlite('luge', 'luge', disks(1_000_000), 1_000_000),
    peers: [
      onSqlite('luge, 100 disks', 'luge', disks(100), 100),
      onSqlite('luge, 10,000 disks', 'luge', disks(10_000), 10_000),
    ],
  },
  {
    ...base,
    // The client fails when one request is lost.
    name: 'clients: 1000 that view instances',
    metrics: { rate: [least(bare, 0.5)], p50: [], p99: [] },
    operations: 4_000,
    ...against({ paths: instanceViews, connections: 1_000 }),
  },
  {
    ...base,
    // Fewer clients leave Nexus without work: each rests between its looks.
    name: 'create: instance → running on sim, 128 clients',
    metrics: { rate: [least(null, 300)], p50: [], p99: [] },
    operations: 2_048,
    ours: creation(128),
    peers: [],
  },
  ...[24, 384].map((clients): Scenario => ({
    ...base,
    // What a member gathers in a turn of its loop shares a write: with a third of few clients, a third as
    // much. With many it gathers enough either way. The second peer tells that from what it costs to be three.
    name: `members: three on PostgreSQL, ${clients} clients that view instances`,
    metrics: { cpu: [most('luge, one member', 1.15)], rate: [], p99: [] },
    ours: onPostgres('luge', 3, { paths: instanceViews, connections: clients }),
    peers: [
      onPostgres('luge, one member', 1, { paths: instanceViews, connections: clients }),
      onPostgres('luge, one member with a third of the clients', 1, {
        paths: instanceViews,
        connections: clients / 3,
      }),
    ],
  })),
]
