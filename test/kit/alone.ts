/** A system of one thread that reaches nobody, with what a test changes of it. */
import { System, type SystemOptions } from '#runtime/actor/system.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'

export const aloneSystem = (changed: Partial<SystemOptions> = {}): System =>
  new System({
    host: 'here',
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    routes: {},
    toThread: () => null,
    toHost: () => null,
    ...changed,
  })
