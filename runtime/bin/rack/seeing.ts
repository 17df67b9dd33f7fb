/** `luge top`, `luge metrics` and `luge why`: three views of what the rack's processes look like. */
import { err, ok, type Result } from '#runtime/result.ts'
import { metricsText, scrape_measure_ms } from '#runtime/seeing/metrics.ts'
import { columns, drawTop, type Column, type TopView } from '#runtime/seeing/top.ts'
import type { Snapshot } from '#runtime/seeing/snapshot.ts'
import { whyOf } from '#runtime/seeing/why.ts'
import type { Terminal } from '#runtime/terminal.ts'
import { lookingAt, seenIn, type Look, type Looking } from './looking.ts'

type Done = Result<null, string>

const redraw_ms = 1_000
/** Looking stops measuring by itself a few seconds after the last look. */
const measure_ms = 5_000
/** A single answer has latencies and rates of this long. */
const once_ms = 1_000

/** Draws the rack until `q`; `once`, or without a terminal, prints it and ends. */
export async function rackTop(
  terminal: Terminal,
  state: string,
  options: { readonly once: boolean; readonly json: boolean },
): Promise<Done> {
  const isLive =
    !options.once && !options.json && terminal.stdin_is_terminal && terminal.stdout_is_terminal
  return await lookingAt(state, async (looking) => {
    const firsts = await looking.look(measure_ms)
    const first = seenIn(firsts)
    if (!first.ok) return first
    if (isLive) return await live(terminal, looking, firsts)
    await terminal.clock.sleep(once_ms)
    const looks = await looking.look(measure_ms)
    const seen = seenIn(looks)
    if (!seen.ok) return seen
    if (options.json) {
      await terminal.write(
        `${JSON.stringify({ processes: seen.value, unseen: unseenIn(looks) })}\n`,
      )
      return ok(null)
    }
    const view = viewOf(looks, first.value, { sort: 'tree', filter: '' })
    const lines = drawTop(view, { width: Number.POSITIVE_INFINITY, height: null })
    await terminal.write(`${lines.join('\n')}\n`)
    return ok(null)
  })
}

/** Prints what Prometheus reads. */
export async function rackMetrics(terminal: Terminal, state: string): Promise<Done> {
  return await lookingAt(state, async (looking) => {
    const seen = seenIn(await looking.look(scrape_measure_ms))
    if (!seen.ok) return seen
    await terminal.write(metricsText(seen.value))
    return ok(null)
  })
}

/** Prints who waits for whom, a sentence a step. */
export async function rackWhy(
  terminal: Terminal,
  state: string,
  wanted: string | null,
): Promise<Done> {
  return await lookingAt(state, async (looking) => {
    const looks = await looking.look(0)
    const seen = seenIn(looks)
    if (!seen.ok) return seen
    const chains = whyOf(seen.value, unseenIn(looks), wanted)
    if (chains.length === 0 && wanted !== null) {
      return err(
        'not_found',
        `nothing here works on, or waits for, what has ${wanted} in its name: luge top shows what there is`,
      )
    }
    const text = chains.map((chain) =>
      chain.map((line, step) => `${step === 0 ? '' : '  '}${line}\n`).join(''),
    )
    await terminal.write(
      chains.length === 0 ? 'Nothing has waited for a second.\n' : text.join('\n'),
    )
    return ok(null)
  })
}

const unseenIn = (looks: readonly Look[]) =>
  looks.flatMap(({ host, seen }) => (seen.ok ? [] : [{ host, why: seen.detail }]))

function viewOf(
  looks: readonly Look[],
  before: readonly Snapshot[],
  given: { readonly sort: Column; readonly filter: string },
): TopView {
  const now = looks.flatMap(({ seen }) => (seen.ok ? [seen.value] : []))
  return { now, before, unseen: unseenIn(looks).map(({ why }) => why), ...given }
}

/** What the keys have made of the view. */
interface Keys {
  sort: Column
  filter: string
  isTyping: boolean
}

async function live(terminal: Terminal, looking: Looking, firsts: readonly Look[]): Promise<Done> {
  const quit = new AbortController()
  const keys: Keys = { sort: 'tree', filter: '', isTyping: false }
  let view = viewOf(firsts, [], keys)
  const draw = () => {
    const { columns: wide, rows: high } = process.stdout
    // A terminal that was never told its size says 0.
    const [width, height] = wide > 0 && high > 0 ? [wide, high] : [80, 24]
    const lines = drawTop(
      { ...view, sort: keys.sort, filter: keys.filter },
      { width, height: height - 1 },
    )
    const body = lines.map((line) => `${line}\x1b[K\r\n`).join('')
    void terminal.write(`\x1b[H${body}${helpOf(keys)}\x1b[K\x1b[J`)
  }
  const stopListening = terminal.listen((chunk) => {
    if (chunk === null) quit.abort()
    for (const key of chunk === null ? '' : Buffer.from(chunk).toString()) {
      if (press(keys, key) === 'quit') quit.abort()
    }
    draw()
  })
  terminal.rawMode(true)
  await terminal.write('\x1b[?1049h\x1b[?25l')
  draw()
  try {
    for (let before = view.now; !quit.signal.aborted;) {
      await terminal.clock.sleep(redraw_ms, quit.signal)
      if (quit.signal.aborted) break
      const looks = await looking.look(measure_ms)
      view = viewOf(looks, before, keys)
      // What is away for a moment keeps its last figures to compare with.
      if (view.now.length > 0) before = view.now
      draw()
    }
  } finally {
    stopListening()
    terminal.rawMode(false)
    await terminal.write('\x1b[?25h\x1b[?1049l')
  }
  return ok(null)
}

const ends = new Set(['\x03', '\x04'])

/** What a key does to the view. */
function press(keys: Keys, key: string): 'quit' | null {
  if (ends.has(key)) return 'quit'
  if (keys.isTyping) {
    if (key === '\r' || key === '\x1b') keys.isTyping = false
    else if (key === '\x7f') keys.filter = keys.filter.slice(0, -1)
    else if (key >= ' ') keys.filter += key
    return null
  }
  if (key === 'q') return 'quit'
  if (key === '/') {
    keys.isTyping = true
    keys.filter = ''
  }
  if (key === 's') keys.sort = columns[(columns.indexOf(keys.sort) + 1) % columns.length] ?? 'tree'
  keys.sort = columns[Number.parseInt(key, 10) - 1] ?? keys.sort
  return null
}

function helpOf({ isTyping, filter, sort }: Keys): string {
  if (isTyping) return `filter: ${filter}▏  (Enter ends it)`
  const names = columns
    .map((column, at) => (column === sort ? `[${at + 1} ${column}]` : `${at + 1} ${column}`))
    .join(' ')
  return `sort by ${names}, s the next   /: filter${filter === '' ? '' : ` (${filter})`}   q: quit`
}
