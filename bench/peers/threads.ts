/**
 * Two threads of Node, actors on each: `threads.ts WAY SHAPE OUTSTANDING ACTORS`, where WAY is
 * comlink or postMessage. This file is both the asking thread and the one that is asked.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { expose, wrap } from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { isShape, type Message, type Shape } from '../messages.ts'
import { closedLoop, serveOrders } from './orders.ts'

type AnyMessage = Message<Shape>

/** An actor of the asked thread. */
class Echo {
  asked = 0

  ask(message: AnyMessage): AnyMessage {
    this.asked += 1
    return message
  }
}
/** An array is cloned faster than an object with names. */
type Question = readonly [slot: number, actor: number, message: AnyMessage]
type Reply = readonly [slot: number, message: AnyMessage]
type Answer = (actor: number, message: AnyMessage) => AnyMessage
type Ask = (actor: number, message: AnyMessage) => Promise<AnyMessage>
interface Way {
  readonly serve: (answer: Answer) => void
  readonly asker: (worker: Worker) => Ask
}

const ways: Readonly<Record<string, Way>> = {
  comlink: {
    serve: (answer) => {
      expose({ answer }, nodeEndpoint(port()))
    },
    asker: (worker) => {
      const remote = wrap<{ answer: Answer }>(nodeEndpoint(worker))
      return (actor, message) => remote.answer(actor, message)
    },
  },
  postMessage: { serve: servePlainly, asker: askPlainly },
}

/** The least that a request and its reply need: a slot to find the asker again. */
function askPlainly(worker: Worker): Ask {
  const waiting: Array<(message: AnyMessage) => void> = []
  const free: number[] = []
  worker.on('message', ([slot, message]: Reply) => {
    waiting[slot]?.(message)
    free.push(slot)
  })
  return (actor, message) =>
    new Promise((resolve) => {
      const slot = free.pop() ?? waiting.length
      waiting[slot] = resolve
      worker.postMessage([slot, actor, message] satisfies Question)
    })
}

function servePlainly(answer: Answer): void {
  const asking = port()
  asking.on('message', ([slot, actor, message]: Question) => {
    asking.postMessage([slot, answer(actor, message)] satisfies Reply)
  })
}

function port() {
  if (parentPort === null) throw new Error('this is the main thread')
  return parentPort
}

const [, , wayName = '', shape = '', outstanding = '', actors = ''] = isMainThread
  ? process.argv
  : (workerData as string[])
const way = ways[wayName]
if (way === undefined || !isShape(shape)) throw new Error('usage: threads.ts WAY SHAPE W ACTORS')

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv })
  const ask = way.asker(worker)
  await serveOrders(
    closedLoop({
      shape,
      outstanding: Number(outstanding),
      actors: Number(actors),
      ask,
      attemptOf: ({ attempt }) => attempt,
    }),
  )
} else {
  const echoes = Array.from({ length: Number(actors) }, () => new Echo())
  way.serve((actor, message) => {
    const echo = echoes[actor]
    if (echo === undefined) throw new Error(`there is no actor ${actor}`)
    return echo.ask(message)
  })
}
