/** A message to a sled that is held back, as if its sender stood still right before sending it. */
import type { Asking } from './kit.ts'

interface Held {
  readonly message: string
  /** Lets it go; gives back what the sled says, and what there is at that moment. */
  readonly release: () => Promise<{ readonly answer: any; readonly seen: readonly string[] }>
}

/** Rules and mappings are sent again until the newest are there, to what is there; an offer is a question. */
const harmless: ReadonlySet<string> = new Set([
  'vnic.set_rules',
  'network.set_v2p',
  'network.set_nat',
  'vnic.offer',
])

/**
 * Holds back one message that sagas send to sleds: the `turn`-th, from 0; `look` says what there is right
 * after it was answered.
 */
export function hold(turn: number, look: () => Promise<readonly string[]>) {
  const held = Promise.withResolvers<Held>()
  let asked = 0
  const asking: Asking = async (message, ask) => {
    const isHeld = !harmless.has(message)
    if (isHeld) asked += 1
    if (!isHeld || asked !== turn + 1) return await ask()
    const gate = Promise.withResolvers<void>()
    const gone = Promise.withResolvers<Awaited<ReturnType<Held['release']>>>()
    const release = async () => {
      gate.resolve()
      return await gone.promise
    }
    held.resolve({ message, release })
    await gate.promise
    const answer = await ask()
    gone.resolve({ answer, seen: await look() })
    return answer
  }
  return { held: held.promise, asking }
}
