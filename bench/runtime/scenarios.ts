/**
 * What the runtime is measured at: the work, who does it besides us, and what we want to reach.
 * Adding one is adding a row.
 */
import type { Entrant } from '../contestant.ts'
import { erlang, erlangDistribution } from '../peers/erlang.ts'
import { nats } from '../peers/nats.ts'
import { nodeEntrant, nodePairEntrant } from '../peers/program.ts'
import { least, most, type Scenario } from '../scenario.ts'
import { attacked } from './attacked.ts'
import { tcpAsk } from './hosts.ts'
import { journal } from './journal.ts'
import { dispatch, idle, localAsk, threadAsk } from './ours.ts'

/** One of ours does it alike, at another size. */
const own = (name: string, entrant: Entrant): Entrant => ({ ...entrant, name })

const threads = (way: string, shape: string, width: number) =>
  nodeEntrant(way, 'peers/threads.ts', way, shape, String(width), String(width))
const calls = (shape: string, width: number) =>
  erlang('gen_server:call', 'calls', shape, String(width), String(width))
/** Ten callers, and how many servers they ask in turn: what more memory costs others. */
const callsAmong = (servers: number) =>
  erlang(`gen_server:call, ${servers} servers`, 'calls', 'small', '10', String(servers))
const acrossHosts = [
  erlangDistribution('Erlang distribution', 'small', 256),
  nats(256),
  nodePairEntrant('undici HTTP JSON', 'peers/http.ts', '256'),
]
/** Of 4 KB each; a ring of ours holds a mebibyte, and beyond that callers are told `busy`. */
const large_outstanding = 200
const appends = (writers: number) =>
  nodeEntrant('append and fdatasync', 'peers/appends.ts', String(writers))
const base = { regime: 'free cores', operations: null } as const

export const scenarios: readonly Scenario[] = [
  {
    ...base,
    name: 'thread ask, 1000 actors to 1000',
    metrics: { rate: [least('comlink', 20), least('gen_server:call', 1.5)], cpu: [] },
    ours: threadAsk('small', { outstanding: 1000, actors: 1000 }),
    peers: [
      threads('comlink', 'small', 1000),
      threads('postMessage', 'small', 1000),
      calls('small', 1000),
    ],
  },
  {
    ...base,
    name: 'thread ping-pong, free cores',
    metrics: { p50: [most('Erlang, two schedulers', 1)], p99: [] },
    ours: threadAsk('small', { outstanding: 1, actors: 1 }),
    peers: [
      erlang('Erlang, two schedulers', 'ping_pong', 'small'),
      threads('postMessage', 'small', 1),
      threads('comlink', 'small', 1),
    ],
  },
  {
    ...base,
    name: 'thread ping-pong, oversubscribed',
    regime: 'oversubscribed',
    metrics: { p50: [most('postMessage', 0.8)], p99: [] },
    ours: threadAsk('small', { outstanding: 1, actors: 1 }),
    peers: [
      threads('postMessage', 'small', 1),
      erlang('Erlang, two schedulers', 'ping_pong', 'small'),
    ],
  },
  {
    ...base,
    name: 'thread ask, 4 KB list',
    metrics: { rate: [least('comlink', 5)], cpu: [most('gen_server:call', 3)] },
    ours: threadAsk('list', { outstanding: large_outstanding, actors: large_outstanding }),
    peers: [
      threads('comlink', 'list', large_outstanding),
      threads('postMessage', 'list', large_outstanding),
      calls('list', large_outstanding),
    ],
  },
  {
    ...base,
    name: 'thread ask, 4 KB blob',
    metrics: { rate: [least('comlink', 5)], cpu: [most('gen_server:call', 5)] },
    ours: threadAsk('blob', { outstanding: large_outstanding, actors: large_outstanding }),
    peers: [
      threads('comlink', 'blob', large_outstanding),
      threads('postMessage', 'blob', large_outstanding),
      calls('blob', large_outstanding),
    ],
  },
  {
    ...base,
    name: 'local ask, one pair',
    metrics: { time: [most('gen_server:call', 0.2)], cpu: [] },
    ours: localAsk({ outstanding: 1, actors: 1 }),
    peers: [calls('small', 1)],
  },
  {
    ...base,
    name: 'local dispatch, ring of 1000',
    metrics: { cpu: [most(null, 60)], time: [] },
    ours: dispatch(1000),
    peers: [erlang('Erlang, two schedulers', 'ring', '1000')],
  },
  {
    ...base,
    name: 'idle actor',
    metrics: { memory: [most(null, 500)], time: [] },
    operations: 100_000,
    ours: idle,
    peers: [erlang('Erlang spawn', 'spawn')],
  },
  {
    ...base,
    // Under a gigabyte for all of them.
    name: 'idle actor, one of a million in a thread',
    metrics: { memory: [most(null, 1_000)], time: [] },
    operations: 1_000_000,
    ours: idle,
    peers: [],
  },
  {
    ...base,
    name: 'TCP ask, 256 outstanding',
    metrics: {
      rate: [least('Erlang distribution', 8), least('undici HTTP JSON', 10)],
      cpu: [],
      p50: [],
    },
    ours: tcpAsk({ outstanding: 256, security: 'plain', hosts: 1 }),
    peers: acrossHosts,
  },
  {
    ...base,
    name: 'TCP ask over TLS 1.3, certificates on both sides, 256 outstanding',
    metrics: { rate: [least('Erlang distribution', 6)], cpu: [] },
    ours: tcpAsk({ outstanding: 256, security: 'tls', hosts: 1 }),
    // Theirs are without TLS.
    peers: acrossHosts,
  },
  {
    ...base,
    name: 'journal append, synchronous=FULL, 1 writer',
    metrics: { rate: [] },
    ours: journal('append', 1),
    peers: [appends(1)],
  },
  {
    ...base,
    name: 'journal append, synchronous=FULL, 100 writers',
    metrics: { rate: [least('append and fdatasync', 0.4)], cpu: [] },
    ours: journal('append', 100),
    peers: [appends(100)],
  },
  {
    ...base,
    name: 'journal put, synchronous=FULL, 100 writers',
    metrics: { rate: [least('append and fdatasync', 0.4)], cpu: [] },
    ours: journal('put', 100),
    peers: [appends(100)],
  },
  {
    ...base,
    name: 'local ask among 100,000 actors',
    metrics: { rate: [least('luge, 10 actors', 0.8)] },
    ours: localAsk({ outstanding: 10, actors: 100_000 }),
    peers: [
      own('luge, 10 actors', localAsk({ outstanding: 10, actors: 10 })),
      callsAmong(10),
      callsAmong(100_000),
    ],
  },
  {
    ...base,
    name: 'local ask among 100,000 actors whose state is a record',
    metrics: { rate: [] },
    ours: localAsk({ outstanding: 10, actors: 100_000 }, 'record'),
    peers: [own('luge, 10 actors', localAsk({ outstanding: 10, actors: 10 }, 'record'))],
  },
  {
    ...base,
    name: 'TCP ask to 64 peers, 32 outstanding with each',
    metrics: { rate: [least('luge, 1 peer', 0.8)], cpu: [most('luge, 1 peer', 1.2)] },
    ours: tcpAsk({ outstanding: 32, security: 'plain', hosts: 64 }),
    peers: [own('luge, 1 peer', tcpAsk({ outstanding: 32, security: 'plain', hosts: 1 }))],
  },
  ...(['calls', 'lists', 'frames', 'noise', 'handshakes'] as const).map((attack) => ({
    ...base,
    name: `a call while another host sends ${attack}`,
    metrics: { worst: [most(null, 50)], p99: [] },
    operations: 200,
    ours: attacked(attack),
    peers: [own('luge, no attack', attacked('none'))],
  })),
]
