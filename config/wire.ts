/** Where processes listen for each other: for frames, and for programs that speak the internal APIs. */
import { Type, type Static } from 'typebox'

const text = Type.String({ minLength: 1, maxLength: 4096 })
const port = Type.Integer({ minimum: 0, maximum: 65_535 })

/** Where a host listens for frames or is dialled: an address and port, or a unix socket (sim). */
export const wireAddress = Type.Union([
  Type.Object({ address: text, port }),
  Type.Object({ path: text }),
])
export type WireAddress = Static<typeof wireAddress>

/** Where an internal API is served, and to whom. */
export const internalListen = Type.Object({
  at: wireAddress,
  /** Without TLS: whoever reaches the address is believed. */
  plain: Type.Boolean(),
})
export type InternalListen = Static<typeof internalListen>

export const isLoopback = (address: string) => address === '::1' || address.startsWith('127.')

/** Why an internal API may not be served like this; null when it may. */
export function internalProblem(
  { at, plain }: InternalListen,
  development: boolean,
): string | null {
  if (!plain || development || 'path' in at || isLoopback(at.address)) return null
  return `internal: plain HTTP on ${at.address} needs development = true: say plain = false, so that both sides prove themselves with the rack's certificates, or use loopback`
}
