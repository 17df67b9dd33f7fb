/** The other end of `program.ts`: what every contestant that is a Node program does with its orders. */
import { createInterface } from 'node:readline'
import { type Message, messages, type Shape } from '../messages.ts'

export interface Answer {
  readonly operations: number
  readonly wall_ns: number
  readonly p50_ns: number | null
  readonly p99_ns: number | null
  readonly bytes: number | null
  /** Of the slowest operation, where that is the question. */
  readonly max_ns?: number
}
export type Work = (operations: number) => Promise<Answer>

/** Timing an operation costs something, so not all are timed, on no side. */
const timed_every = 16

/**
 * Says `ready`, then does what it is told until its standard input ends; then the process ends. `close`
 * takes away what it has outside of itself, also when the work fails.
 */
export async function serveOrders(
  work: Work,
  where = '',
  close = async (): Promise<void> => undefined,
): Promise<never> {
  console.log(`ready ${where}`)
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      console.log(JSON.stringify(await work(Number(line))))
    }
  } finally {
    await close()
  }
  process.exit(0)
}

/** For programs that are asked by others only. */
export const serveNothing: Work = async () => {
  throw new Error('this program takes no orders')
}

export interface Loop<S extends Shape, R> {
  readonly shape: S
  readonly outstanding: number
  /** How many actors are asked, numbered from 0. */
  readonly actors: number
  /** Every actor answers with what it was asked. */
  readonly ask: (actor: number, message: Message<S>) => Promise<R>
  /** Which message an answer belongs to; throws when it is a failure. */
  readonly attemptOf: (answer: R) => number
}

/** A closed loop: so many askers, each of whom asks again when it was answered. */
export function closedLoop<S extends Shape, R>(loop: Loop<S, R>): Work {
  const { outstanding, actors, ask, attemptOf } = loop
  const next = messages(loop.shape)
  return async (operations) => {
    const samples: number[] = []
    let left = operations
    const asker = async (_: unknown, first: number) => {
      for (let actor = first % actors; left > 0; actor = (actor + outstanding) % actors) {
        left -= 1
        const isTimed = left % timed_every === 0
        const message = next()
        const began = isTimed ? performance.now() : 0
        const reply = await ask(actor, message)
        if (isTimed) samples.push(performance.now() - began)
        if (attemptOf(reply) !== message.attempt) throw new Error(`actor ${actor} answered another`)
      }
    }
    const began = performance.now()
    await Promise.all(Array.from({ length: outstanding }, asker))
    const wall_ns = (performance.now() - began) * 1e6
    samples.sort((a, b) => a - b)
    const at_ns = (share: number) => (samples[Math.floor(samples.length * share)] ?? 0) * 1e6
    return { operations, wall_ns, p50_ns: at_ns(0.5), p99_ns: at_ns(0.99), bytes: null }
  }
}
