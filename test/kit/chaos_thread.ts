/** A thread of the process that chaos strikes: it hosts the kind that is named after it. */
import { makePipes } from '#native/pipes.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { hostThread } from '#runtime/thread/threads.ts'
import { routes, workActor } from './chaos_work.ts'

hostThread(async (name, data, links) => {
  const system = new System({
    host: 'here',
    thread: name,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    routes,
    toThread: (other) => links.to(other),
    toHost: () => links.to('main'),
  })
  links.host = system
  system.add(workActor(name), { done: String(data) })
  return {
    system,
    stop: async () => {
      await system.stop()
    },
  }
}, makePipes)
