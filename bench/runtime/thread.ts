/** The thread that is asked. */
import { makePipes } from '#native/pipes.sys.ts'
import { hostThread } from '#runtime/thread/threads.ts'
import { echo, makeSystem } from './echo.ts'

hostThread(async (name, _data, links) => {
  const system = makeSystem({
    host: 'here',
    thread: name,
    echoes: 'echo',
    toThread: (other) => links.to(other),
    toHost: () => null,
  })
  links.host = system
  system.add(echo, null)
  return {
    system,
    stop: async () => {
      await system.stop()
    },
  }
}, makePipes)
