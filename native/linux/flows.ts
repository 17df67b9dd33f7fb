/** Which of a port's running flows may go on: the kernel judges only how a flow begins. */
import { ipBytes } from './addresses.ts'
import type { TrackedFlow } from './conntrack.ts'
import type { GuestPort, Note } from './guest_port.ts'
import type { Namespace } from './namespace.ts'
import { admits, type Flow, type Rule } from './rules.ts'

/**
 * Forgets every flow of the port that its rules would not admit now, or that is translated to an
 * address or port that is no longer its own. Other flows go on untouched, with their translations.
 */
export function pruneFlows(port: GuestPort, rules: readonly Rule[]): void {
  forgetWhere(port, (flow) => {
    const seen = seenBy(port, flow)
    return seen !== null && (!admits(rules, seen) || !isOwnTranslation(port, flow))
  })
}

/** Forgets every flow from or to the port. */
export function forgetFlows(port: GuestPort): void {
  forgetWhere(port, (flow) => seenBy(port, flow) !== null)
}

/** The same when its guest goes on elsewhere: flows with those `who` stay here are theirs as well. */
export function leaveFlows(port: GuestPort, who: readonly GuestPort[]): void {
  const staying = who.map(({ ip }) => ipBytes(ip))
  forgetWhere(port, (flow) => {
    const seen = seenBy(port, flow)
    return seen !== null && !staying.some((ip) => ip.equals(seen.host))
  })
}

/** Takes over the flows that a port of the same address has in another namespace. */
export function adoptFlows(port: GuestPort, from: Namespace): void {
  using there = from.conntrack()
  using here = port.namespace.conntrack()
  for (const flow of there.flows()) if (seenBy(port, flow) !== null) here.adopt(flow)
}

function forgetWhere(port: GuestPort, isStale: (flow: TrackedFlow) => boolean): void {
  using conntrack = port.namespace.conntrack()
  for (const flow of conntrack.flows()) if (isStale(flow)) conntrack.forget(flow)
}

/** The flow as its port sees it; null when it is another port's. */
export function seenBy({ ip }: Note, { original, reply }: TrackedFlow): Flow | null {
  const own = ipBytes(ip)
  const { protocol } = original
  // Who answers is the destination after translation: where the packets really go.
  const port = reply.sourcePort
  if (original.source.equals(own)) {
    return { direction: 'outbound', host: reply.source, protocol, port }
  }
  if (reply.source.equals(own)) {
    return { direction: 'inbound', host: original.source, protocol, port }
  }
  return null
}

/** Whether a flow's translation, if any, is to what the port has now. */
export function isOwnTranslation(port: Note, { original, reply }: TrackedFlow): boolean {
  const own = ipBytes(port.ip)
  const external = port.external === null ? null : ipBytes(port.external)
  if (!original.source.equals(own)) {
    return original.destination.equals(own) || original.destination.equals(external ?? own)
  }
  if (reply.destination.equals(own)) return true
  if (external !== null) return reply.destination.equals(external)
  if (port.snat === null) return false
  const [address, first, last] = port.snat
  const translated = reply.destinationPort
  const isInRange = translated === null || (first <= translated && translated <= last)
  return reply.destination.equals(ipBytes(address)) && isInRange
}
