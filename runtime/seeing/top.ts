/** What `luge top` draws: lines of text from two looks, the later one for what is, both for rates. */
import type { ActorSeen, ChannelSeen, Snapshot, ThreadSeen } from './snapshot.ts'

export const columns = ['tree', 'depth', 'rate', 'handled', 'restarts', 'name'] as const
export type Column = (typeof columns)[number]

export interface TopView {
  readonly now: readonly Snapshot[]
  /** The look before; empty at the first. */
  readonly before: readonly Snapshot[]
  /** Processes that cannot be looked at, a sentence each. */
  readonly unseen: readonly string[]
  readonly sort: Column
  /** Only what has this in its name. */
  readonly filter: string
}
/** How much room there is; null: as much as it takes. */
export interface Room {
  readonly width: number
  readonly height: number | null
}

interface Line {
  readonly indent: number
  /** Unlike all others: where it is, and what it is called. */
  readonly key: string
  readonly name: string
  readonly state: string
  readonly depth: number
  readonly handled: number
  readonly restarts: number
  readonly note: string
}

/** The whole screen, line by line, no line longer than there is room. */
export function drawTop(view: TopView, room: Room): readonly string[] {
  const rates = new Rates(view)
  const head = [...view.now.flatMap((seen) => headOf(seen, rates)), ...view.unseen, '']
  const messages = messageLines(view, rates)
  const ways = wayLines(view)
  const troubles = troubleLines(view)
  const tail = [messages, ways, troubles].flatMap((section) => shorten(section, room.height, 4))
  const actors = actorLines(view, rates, room.width)
  const left = room.height === null ? null : Math.max(3, room.height - head.length - tail.length)
  return [...head, ...shorten(actors, left, 1), ...tail].map((line) => line.slice(0, room.width))
}

/** A section takes a part of the height; what is left out is counted. */
function shorten(lines: readonly string[], height: number | null, part: number): readonly string[] {
  const max = height === null ? lines.length : Math.floor(height / part)
  if (lines.length <= max) return lines
  return [...lines.slice(0, max - 1), `  … ${lines.length - max + 1} more`]
}

/** How fast counters went between the two looks. */
class Rates {
  readonly #seconds = new Map<string, number>()
  readonly #handled = new Map<string, number>()
  readonly #cpu = new Map<string, number>()

  constructor({ now, before }: TopView) {
    for (const seen of before) {
      const later = now.find(({ host, pid }) => host === seen.host && pid === seen.pid)
      if (later === undefined) continue
      this.#seconds.set(seen.host, Math.max(0.001, (later.now_ms - seen.now_ms) / 1_000))
      this.#cpu.set(seen.host, seen.cpu_ms)
      for (const thread of seen.threads) {
        const at = `${seen.host} ${thread.name}`
        for (const { name, handled } of thread.kinds) this.#handled.set(`${at} ${name}`, handled)
        for (const { name, handled } of thread.actors) this.#handled.set(`${at} ${name}`, handled)
        for (const { name, count } of thread.rows) this.#handled.set(`${at} row ${name}`, count)
      }
    }
  }

  /** A second; null when the look before did not have it. */
  of(key: string, count: number): number | null {
    const before = this.#handled.get(key)
    const seconds = this.#seconds.get(key.split(' ', 1)[0] ?? '')
    return before === undefined || seconds === undefined
      ? null
      : Math.max(0, (count - before) / seconds)
  }

  cpu({ host, cpu_ms }: Snapshot): number | null {
    const before = this.#cpu.get(host)
    const seconds = this.#seconds.get(host)
    return before === undefined || seconds === undefined ? null : (cpu_ms - before) / seconds / 10
  }
}

function headOf(seen: Snapshot, rates: Rates): readonly string[] {
  const { service, host, pid, uptime_ms, rss_bytes, threads, links } = seen
  const sum = (of: (thread: ThreadSeen) => number) =>
    threads.reduce((total, thread) => total + of(thread), 0)
  const actors = sum(({ kinds }) => kinds.reduce((total, kind) => total + kind.actors, 0))
  const cpu = rates.cpu(seen)
  const down = links.filter(({ is_up }) => !is_up).length
  return [
    [
      `${service} ${host}`,
      `pid ${pid}`,
      `up ${duration(uptime_ms)}`,
      `cpu ${cpu === null ? '-' : cpu.toFixed(0)} %`,
      `${(rss_bytes / 2 ** 20).toFixed(0)} MiB`,
      `${actors} actors`,
      `${sum(({ calls }) => calls.length)} calls wait`,
      `${sum(({ dead_letters }) => dead_letters.count)} dead letters`,
      `links ${links.length - down} up ${down} down`,
    ].join('  '),
  ]
}

/** What the columns behind a name take, with a little for the last one. */
const figures_width = 52
const name_width = { min: 24, max: 52 } as const

function actorLines(view: TopView, rates: Rates, width: number): readonly string[] {
  const all = view.now.flatMap(treeOf)
  const isTree = view.sort === 'tree' && view.filter === ''
  const isWanted = ({ name, note }: Line) =>
    view.filter === '' || `${name} ${note}`.includes(view.filter)
  const rateOf = (line: Line) => rates.of(line.key, line.handled)
  const lines = isTree
    ? all
    : all
        .filter(({ indent }) => indent === 3)
        .filter(isWanted)
        .toSorted(byColumn(view.sort, rateOf))
  const forName = Math.max(name_width.min, Math.min(name_width.max, width - figures_width))
  const mark = (column: Column, title: string) => (view.sort === column ? `${title}▾` : title)
  const title = [
    mark('name', 'ACTOR').padEnd(forName),
    'STATE'.padEnd(9),
    mark('depth', 'DEPTH').padStart(7),
    mark('rate', 'MSG/S').padStart(9),
    mark('handled', 'HANDLED').padStart(10),
    mark('restarts', 'RESTARTS').padStart(9),
    ' DOING',
  ].join(' ')
  const nameOf = ({ indent, name }: Line) => {
    const placed = `${isTree ? '  '.repeat(indent) : ''}${name}`
    const short = placed.length > forName ? `${placed.slice(0, forName - 1)}…` : placed
    return short.padEnd(forName)
  }
  return [title, ...lines.map((line) => `${nameOf(line)} ${drawFigures(line, rateOf(line))}`)]
}

function drawFigures(line: Line, rate: number | null): string {
  return [
    line.state.padEnd(9),
    String(line.depth).padStart(7),
    (rate === null ? '-' : rate.toFixed(1)).padStart(9),
    String(line.handled).padStart(10),
    String(line.restarts).padStart(9),
    line.note === '' ? '' : ` ${line.note}`,
  ]
    .join(' ')
    .trimEnd()
}

function byColumn(sort: Column, rateOf: (line: Line) => number | null) {
  return (a: Line, b: Line): number => {
    switch (sort) {
      case 'depth':
        return b.depth - a.depth
      case 'rate':
        return (rateOf(b) ?? 0) - (rateOf(a) ?? 0)
      case 'handled':
        return b.handled - a.handled
      case 'restarts':
        return b.restarts - a.restarts
      case 'name':
      case 'tree':
        return a.name < b.name ? -1 : 1
    }
  }
}

/** A process, its threads, their kinds and their actors, in this order. */
function treeOf({ service, host, threads }: Snapshot): readonly Line[] {
  const none = { depth: 0, handled: 0, restarts: 0, state: '', note: '' }
  const sums = threads.flatMap(({ kinds }) => kinds)
  const threadLines = threads.flatMap((thread): readonly Line[] => {
    const at = `${host} ${thread.name}`
    const kindLines = thread.kinds.flatMap((kind): readonly Line[] => [
      {
        ...none,
        indent: 2,
        key: `${at} ${kind.name}`,
        name: kind.group === null ? kind.name : `${kind.name} (${kind.group})`,
        depth: kind.depth,
        handled: kind.handled,
        restarts: kind.crashes,
        note: `${kind.actors} actors`,
      },
      ...thread.actors
        .filter(({ name }) => name.startsWith(`${kind.name}/`))
        .map((actor) => actorLine(at, actor)),
    ])
    return [
      {
        ...none,
        indent: 1,
        key: at,
        name: thread.name,
        state: thread.answers ? `${(thread.utilization * 100).toFixed(0)} %` : 'silent',
        ...counts(thread.kinds),
        note: thread.blocked_in === null ? '' : `in ${thread.blocked_in.what}`,
      },
      ...kindLines,
    ]
  })
  return [
    { ...none, indent: 0, key: host, name: `${service} ${host}`, ...counts(sums) },
    ...threadLines,
  ]
}

const counts = (kinds: ThreadSeen['kinds']) => ({
  depth: kinds.reduce((sum, { depth }) => sum + depth, 0),
  handled: kinds.reduce((sum, { handled }) => sum + handled, 0),
  restarts: kinds.reduce((sum, { crashes }) => sum + crashes, 0),
})

function actorLine(at: string, actor: ActorSeen): Line {
  const { name, phase, depth, handled, restarts, running, last_failure } = actor
  const doing = running === null ? '' : `${running.message} for ${duration(running.for_ms)}`
  const note = running === null && last_failure !== null ? `failed: ${last_failure}` : doing
  return { indent: 3, key: `${at} ${name}`, name, state: phase, depth, handled, restarts, note }
}

const cell = (value: string): string => value.padStart(8)

function messageLines({ now }: TopView, rates: Rates): readonly string[] {
  const rows = now
    .flatMap(({ host, threads }) =>
      threads.flatMap(({ name, rows: all }) =>
        all.map((row) => ({ row, rate: rates.of(`${host} ${name} row ${row.name}`, row.count) })),
      ),
    )
    .toSorted((a, b) => b.row.count - a.row.count)
  if (rows.length === 0) return []
  const title = [
    'MESSAGE'.padEnd(28),
    ...['COUNT', 'MSG/S', 'FAILED', 'P50 ms', 'P99 ms', 'MAX ms'].map(cell),
  ]
  return [
    '',
    title.join(''),
    ...rows.map(({ row, rate }) =>
      [
        row.name.padEnd(28),
        cell(String(row.count)),
        cell(rate === null ? '-' : rate.toFixed(1)),
        cell(String(row.failures)),
        ...[row.p50_ms, row.p99_ms, row.max_ms].map((ms) => cell(ms.toFixed(2))),
      ].join(''),
    ),
  ]
}

function drawWay(from: string, { to, is_up, why, inflight, served }: ChannelSeen): string {
  const way = `${from} → ${to}`.padEnd(64)
  const calls = `${inflight} wait for it, ${served} served for it`
  return `${way} ${is_up ? 'up' : 'down'}  ${calls}${why === null ? '' : `  ${why}`}`
}

function wayLines({ now }: TopView): readonly string[] {
  const lines = now.flatMap(({ service, links, threads }) => [
    ...links.map((link) => drawWay(service, link)),
    ...threads.flatMap(({ name, channels }) =>
      channels
        .filter(({ inflight, served, is_up }) => inflight > 0 || served > 0 || !is_up)
        .map((way) => drawWay(`${service} ${name}`, way)),
    ),
  ])
  return lines.length === 0 ? [] : ['', 'WAYS', ...lines]
}

function troubleLines({ now }: TopView): readonly string[] {
  const lines = now.flatMap(({ service, threads }) =>
    threads.flatMap(({ name, actors, dead_letters }) => [
      ...actors
        .filter(({ last_failure }) => last_failure !== null)
        .map((actor) => `${service} ${name}  ${actor.name} failed: ${actor.last_failure ?? ''}`),
      ...dead_letters.last
        .toReversed()
        .map((letter) => `${service} ${name}  dead letter: ${letter}`),
    ]),
  )
  return lines.length === 0 ? [] : ['', 'TROUBLES', ...lines]
}

function duration(ms: number): string {
  const seconds = ms / 1_000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`
}
