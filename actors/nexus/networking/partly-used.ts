/** External addresses on which this member has put a chunk, and which have room for more: a hint. */
import { port_max, type ExternalIp } from './external-ips.ts'

const ranges_max = 1_000
/** As many as instances may be made at once without being in each other's way. */
const addresses_max = 64

/**
 * Where to look first for a chunk: what is free there is read. An address is given to one search at a time,
 * and offered again once that has committed: two would both want its next chunk.
 */
export class PartlyUsed {
  readonly #byRange = new Map<string, string[]>()

  /** An address of one of these ranges, which nobody else is given; null when none is known. */
  take<R extends { readonly id: string }>(ranges: readonly R[]): { range: R; ip: string } | null {
    for (const range of ranges) {
      const ip = this.#byRange.get(range.id)?.shift()
      if (ip !== undefined) return { range, ip }
    }
    return null
  }

  /** After the commit of what was put there last: an address' chunks are taken in their order. */
  offer({ ip_pool_range_id, ip, last_port }: ExternalIp): void {
    if (last_port === port_max) return
    const known = this.#byRange.get(ip_pool_range_id) ?? []
    if (known.length >= addresses_max) return
    // Of ranges that are gone nothing would ever be taken.
    if (known.length === 0 && this.#byRange.size >= ranges_max) this.#byRange.clear()
    known.push(ip)
    this.#byRange.set(ip_pool_range_id, known)
  }
}
