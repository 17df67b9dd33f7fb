/** A process that chaos strikes: `node chaos_process.ts NAME PORT FILE` hosts the kind `far` until it dies. */
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import type { System } from '#runtime/actor/system.ts'
import { Links } from '#runtime/wire/links.ts'
import { aloneSystem } from './alone.ts'
import { workActor, workProtocol } from './chaos_work.ts'

const [host = '', port = '', done = ''] = process.argv.slice(2)
const links: Links = new Links({
  host,
  clock: systemClock,
  random: systemRandom,
  log: memoryLog(),
  exports: [workProtocol('far')],
  serve: () => system,
  security: null,
})
const system: System = aloneSystem({ host, toHost: (other) => links.to(other) })
system.add(workActor('far'), { done })
await links.listen({ host: '127.0.0.1', port: Number(port) })
// Whoever started it is gone: nobody is left to end it.
process.stdin.resume()
process.stdin.once('end', () => process.exit(0))
