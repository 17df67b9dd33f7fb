/** When a rack serves: every member of Nexus answers, and is linked with every sled. */
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { wellKnown } from '#config/addressing.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { urlOf } from './configs.ts'
import { nexusTargets } from './control.ts'
import { Looking } from './looking.ts'
import type { RackPlan } from './plan.ts'

/** How long to wait for each of the things that a rack needs to serve. */
export const ready_ms_max = 60_000
const pause_ms = 50

/** The guide's token: the spoof login of the privileged test user. */
export const guideToken = `oxide-spoof-${wellKnown.user_privileged}`

/** How long people wait without a word. */
const told_every_ms = 10_000

/**
 * Says what is waited for, while that takes long, each time that it is something else. The function that it
 * gives back ends it.
 */
export function tellWhile(
  why: () => string,
  say = (line: string): void => void process.stderr.write(line),
  every_ms = told_every_ms,
): () => void {
  let said: string | null = null
  const timer = setInterval(() => {
    const now = why()
    if (now !== said) say(`luge: still waiting: ${now}\n`)
    said = now
  }, every_ms)
  return () => {
    clearInterval(timer)
  }
}

type Waited = Result<null, 'not_ready'>

/** Asks again and again until it hears null; what it heard last is why it gave up. */
async function waitFor(what: string, ask: () => Promise<string | null>): Promise<Waited> {
  let last: string | null = ''
  for (let tries = 0; tries < ready_ms_max / pause_ms; tries += 1) {
    last = await ask()
    if (last === null) return ok(null)
    await sleep(pause_ms)
  }
  return err('not_ready', `${what}: ${last}`)
}

/** Waits until a member's API answers an authenticated request. */
export async function waitServed(external: Parameters<typeof urlOf>[0]): Promise<Waited> {
  const url = `${urlOf(external)}/session/me`
  return await waitFor(`Nexus does not answer at ${url}`, async () => {
    try {
      const status = await statusAt(url)
      return status === 200 ? null : `status ${status}`
    } catch (error) {
      return explain(error)
    }
  })
}

/** One request of the guide's user. */
async function statusAt(url: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const headers = { authorization: `Bearer ${guideToken}` }
  get(url, { headers, agent: false, signal: AbortSignal.timeout(ready_ms_max) }, (answer) => {
    answer.resume()
    resolve(answer.statusCode ?? 0)
  }).once('error', reject)
  return await promise
}

/** Waits until every member is linked with every sled: before, it places nothing there. */
export async function waitLinked(state: string, plan: RackPlan): Promise<Waited> {
  const looking = new Looking(nexusTargets(state, plan))
  try {
    return await waitFor('not everything is linked', async () => {
      const missing = (await looking.look(0)).flatMap(({ host, seen }) => {
        if (!seen.ok) return [seen.detail]
        const up = new Set(seen.value.links.flatMap(({ to, is_up }) => (is_up ? [to] : [])))
        return plan.sleds
          .filter(({ id }) => !up.has(`host ${id}`))
          .map(({ id }) => `Nexus ${host} has no link with sled ${id}`)
      })
      return missing.length === 0 ? null : missing.join('; ')
    })
  } finally {
    looking.close()
  }
}
