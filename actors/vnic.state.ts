/**
 * What a vnic is and which way it may go. Pure: plans say what to do, the actor does it.
 *
 *            ensure                     made
 *   absent ──────────► wanted (no link) ─────► wanted (link)
 *     ▲                   │  ▲    └─ check, later, while it fails
 *     └──────remove───────┴──┼────── remove ───────┘
 *                            └─ found gone after a restart
 */
import type { ControlSpec, LinkView, PortRule, PortSpec } from '#native/platform/ports.ts'

/** What is journaled: the vnic as it was last asked for. */
export type Wanted =
  | ({ readonly kind: 'guest' } & PortSpec)
  | ({ readonly kind: 'control' } & ControlSpec)

export interface VnicState {
  readonly id: string
  /** Null: nobody asked for this vnic, or it is gone. */
  readonly wanted: Wanted | null
  /** Where it is; null while it is not there. */
  readonly link: LinkView | null
  /** Takes the next look back; null when none is due. */
  readonly cancelCheck: (() => void) | null
  /** Looks in a row that found it missing and could not make it. */
  readonly misses: number
}

export const absent = (id: string): VnicState => ({
  id,
  wanted: null,
  link: null,
  cancelCheck: null,
  misses: 0,
})

/** The vnic with other rules; null when it has none to set: it is gone, or a control link. */
export function withRules(
  { wanted }: VnicState,
  firewall_rules: readonly PortRule[],
): Wanted | null {
  return wanted?.kind === 'guest' ? { ...wanted, firewall_rules } : null
}

/** How long to wait before the next look, growing from `min` to `max` with every miss. */
export function backOff(misses: number, min_ms: number, max_ms: number): number {
  return Math.min(max_ms, min_ms * 2 ** Math.min(misses, 30))
}
