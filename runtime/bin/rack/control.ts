/** Talking to a running supervisor: one short-lived link over the sled's control socket. */
import { existsSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import type { RefMaker } from '#runtime/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { stderrLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { err, type Result } from '#runtime/result.ts'
import { System } from '#runtime/system.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { sledFiles, sledState } from './layout.ts'
import { findSupervisor } from './supervisor.ts'

const connect_ms_max = 3_000

/** Links up with a sled's supervisor, asks, and hangs up. */
export async function withSled<T, E extends string>(
  state: string,
  sled: { readonly id: string; readonly number: number },
  ask: (ref: RefMaker) => Promise<Result<T, E>>,
): Promise<Result<T, E | 'not_running'>> {
  const directory = sledState(state, sled.number)
  const path = sledFiles(directory).control
  if (findSupervisor(directory) === null || !existsSync(path)) {
    return err('not_running', `the supervisor of ${directory} does not run: luge rack up starts it`)
  }
  const log = stderrLog('luge', 'error')
  const host = `luge-${randomUUID()}`
  const up = Promise.withResolvers<boolean>()
  const links: Links = new Links({
    host,
    clock: systemClock,
    log,
    random: systemRandom,
    exports: [],
    serve: () => system,
    security: null,
    onPeer: (_peer, isUp) => {
      up.resolve(isUp)
    },
  })
  const system: System = new System({
    host,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log,
    routes: {},
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  const giveUp = systemClock.after(connect_ms_max, () => {
    up.resolve(false)
  })
  links.dial(sled.id, connector({ path }))
  try {
    if (!(await up.promise)) return err('not_running', `the supervisor does not answer at ${path}`)
    return await ask((protocol, id) => system.ref(protocol, id, sled.id))
  } finally {
    giveUp()
    links.close()
  }
}
