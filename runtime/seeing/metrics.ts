/** Snapshots as Prometheus reads them (text exposition format 0.0.4). */
import type { Snapshot, ThreadSeen } from './snapshot.ts'

type Labels = Readonly<Record<string, string | number>>
interface Sample {
  readonly labels: Labels
  readonly value: number
  /** Behind the family's name, for summaries. */
  readonly suffix?: '_sum' | '_count'
}
interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'summary'
  readonly samples: readonly Sample[]
}

/** How long messages are measured after a scrape: scrapers come every minute at the latest. */
export const scrape_measure_ms = 90_000
export const metricsType = 'text/plain; version=0.0.4; charset=utf-8'

/** All that the snapshots count, in one text. */
export function metricsText(snapshots: readonly Snapshot[]): string {
  const families = [
    ...processFamilies(snapshots),
    ...actorFamilies(snapshots),
    ...messageFamilies(snapshots),
    ...wayFamilies(snapshots),
    ...httpFamilies(snapshots),
    ...counterFamilies(snapshots),
  ]
  return families
    .filter(({ samples }) => samples.length > 0)
    .map(print)
    .join('')
}

const ofProcess = ({ service, host }: Snapshot): Labels => ({ service, host })

function processFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const each = (value: (snapshot: Snapshot) => number): readonly Sample[] =>
    snapshots.map((snapshot) => ({ labels: ofProcess(snapshot), value: value(snapshot) }))
  return [
    {
      name: 'process_cpu_seconds_total',
      help: 'Processor time used, user and system.',
      type: 'counter',
      samples: each(({ cpu_ms }) => cpu_ms / 1_000),
    },
    {
      name: 'process_start_time_seconds',
      help: 'When the process began, in Unix time.',
      type: 'gauge',
      samples: each(({ now_ms, uptime_ms }) => Math.round(now_ms - uptime_ms) / 1_000),
    },
    {
      name: 'process_resident_memory_bytes',
      help: 'Memory that the process has.',
      type: 'gauge',
      samples: each(({ rss_bytes }) => rss_bytes),
    },
    {
      name: 'luge_heap_bytes',
      help: 'JavaScript heap of the main thread in use.',
      type: 'gauge',
      samples: each(({ heap_bytes }) => heap_bytes),
    },
    {
      name: 'luge_thread_up',
      help: 'Whether a thread answers.',
      type: 'gauge',
      samples: perThread(snapshots, false, ({ answers }) => (answers ? 1 : 0)),
    },
    {
      name: 'luge_loop_utilization_ratio',
      help: 'Share of time that an event loop worked since the look before.',
      type: 'gauge',
      samples: perThread(snapshots, true, ({ utilization }) => utilization),
    },
    {
      name: 'luge_loop_delay_p99_seconds',
      help: 'How late timers of an event loop were, since it is watched.',
      type: 'gauge',
      samples: perThread(snapshots, true, ({ delay_p99_ms }) =>
        delay_p99_ms === null ? null : delay_p99_ms / 1_000,
      ),
    },
  ]
}

function actorFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const each = (value: (kind: ThreadSeen['kinds'][number]) => number): readonly Sample[] =>
    threadsOf(snapshots).flatMap(({ labels, thread }) =>
      thread.kinds.map((kind) => ({ labels: { ...labels, kind: kind.name }, value: value(kind) })),
    )
  return [
    {
      name: 'luge_actors',
      help: 'Actors that are active.',
      type: 'gauge',
      samples: each(({ actors }) => actors),
    },
    {
      name: 'luge_mailbox_depth',
      help: 'Messages that wait in the mailboxes of a kind.',
      type: 'gauge',
      samples: each(({ depth }) => depth),
    },
    {
      name: 'luge_messages_handled_total',
      help: 'Messages that actors of a kind have handled.',
      type: 'counter',
      samples: each(({ handled }) => handled),
    },
    {
      name: 'luge_actor_crashes_total',
      help: 'Crashes of actors of a kind.',
      type: 'counter',
      samples: each(({ crashes }) => crashes),
    },
    {
      name: 'luge_dead_letters_total',
      help: 'Messages that could be delivered to nobody, and answers that came too late.',
      type: 'counter',
      samples: perThread(snapshots, true, ({ dead_letters }) => dead_letters.count),
    },
  ]
}

function messageFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const rows = threadsOf(snapshots).flatMap(({ labels, thread }) =>
    thread.rows.map((row) => ({ labels: { ...labels, message: row.name }, row })),
  )
  return [
    {
      name: 'luge_message_seconds',
      help: 'From the arrival of a message to its answer, since somebody watches.',
      type: 'summary',
      samples: rows.flatMap(({ labels, row }) => [
        { labels: { ...labels, quantile: '0.5' }, value: row.p50_ms / 1_000 },
        { labels: { ...labels, quantile: '0.99' }, value: row.p99_ms / 1_000 },
        { labels, value: row.sum_ms / 1_000, suffix: '_sum' },
        { labels, value: row.count, suffix: '_count' },
      ]),
    },
    {
      name: 'luge_message_failures_total',
      help: 'Messages that were answered with a failure, since somebody watches.',
      type: 'counter',
      samples: rows.map(({ labels, row }) => ({ labels, value: row.failures })),
    },
  ]
}

function wayFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const links = snapshots.flatMap((snapshot) =>
    snapshot.links.map((link) => ({ labels: { ...ofProcess(snapshot), to: link.to }, way: link })),
  )
  const channels = threadsOf(snapshots).flatMap(({ labels, thread }) =>
    thread.channels.map((way) => ({ labels: { ...labels, to: way.to }, way })),
  )
  const ways = [
    ...links.map(({ labels, way }) => ({ labels: { ...labels, thread: 'main' }, way })),
    ...channels,
  ]
  return [
    {
      name: 'luge_link_up',
      help: 'Whether the link to another host is up.',
      type: 'gauge',
      samples: links.map(({ labels, way }) => ({ labels, value: way.is_up ? 1 : 0 })),
    },
    {
      name: 'luge_channel_inflight',
      help: 'Calls that wait for the other end of a channel.',
      type: 'gauge',
      samples: ways.map(({ labels, way }) => ({ labels, value: way.inflight })),
    },
    {
      name: 'luge_channel_served',
      help: 'Calls of the other end of a channel that are being served.',
      type: 'gauge',
      samples: ways.map(({ labels, way }) => ({ labels, value: way.served })),
    },
  ]
}

function httpFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const samples = snapshots.flatMap((snapshot) =>
    snapshot.http.flatMap(({ operation, status, count, sum_ms }): readonly Sample[] => {
      const labels = { ...ofProcess(snapshot), operation, status }
      return [
        { labels, value: sum_ms / 1_000, suffix: '_sum' },
        { labels, value: count, suffix: '_count' },
      ]
    }),
  )
  return [
    {
      name: 'luge_http_request_seconds',
      help: 'HTTP requests that were answered.',
      type: 'summary',
      samples,
    },
  ]
}

/** Counters that threads name themselves. */
function counterFamilies(snapshots: readonly Snapshot[]): readonly Family[] {
  const threads = threadsOf(snapshots)
  const names = new Set(threads.flatMap(({ thread }) => Object.keys(thread.counters)))
  return [...names].toSorted().map((name) => ({
    name: `luge_${name}_total`,
    help: `${name.replaceAll('_', ' ')}, since the process began.`,
    type: 'counter',
    samples: threads.flatMap(({ labels, thread }) => {
      const value = thread.counters[name]
      return value === undefined ? [] : [{ labels, value }]
    }),
  }))
}

function threadsOf(snapshots: readonly Snapshot[]) {
  return snapshots.flatMap((snapshot) =>
    snapshot.threads.map((thread) => ({
      labels: { ...ofProcess(snapshot), thread: thread.name },
      thread,
    })),
  )
}

/** A sample for each thread; `answering`: only for those that answer. */
function perThread(
  snapshots: readonly Snapshot[],
  answering: boolean,
  value: (thread: ThreadSeen) => number | null,
): readonly Sample[] {
  return threadsOf(snapshots).flatMap(({ labels, thread }) => {
    const number = answering && !thread.answers ? null : value(thread)
    return number === null ? [] : [{ labels, value: number }]
  })
}

function print({ name, help, type, samples }: Family): string {
  const lines = samples.map(({ labels, value, suffix = '' }) => {
    const inner = Object.entries(labels).map(([key, label]) => `${key}="${escaped(String(label))}"`)
    return `${name}${suffix}{${inner.join(',')}} ${value}`
  })
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('\n')}\n`
}

const escaped = (label: string) =>
  label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
