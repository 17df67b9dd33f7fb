/**
 * What carries the frames of a channel away: a ring to another thread, a socket to another host, a
 * simulated network. It keeps their order, and either delivers all of them or breaks.
 */
import type { Cursor } from '../codec/cursor.ts'

export interface Outlet {
  /** Where the next frame is written: after `begin`, between `at` and `limit`. */
  readonly cursor: Cursor
  /** Makes room for a frame of common size. False when the other end has fallen too far behind. */
  readonly begin: () => boolean
  /** The frame that stands between where `begin` left the cursor and where it is now is complete. */
  readonly end: () => void
  /** Takes a frame that was too large for that room. False when it cannot take it now. */
  readonly large: (frame: Buffer) => boolean
  /** Calls back once, when it may be worth trying again. */
  readonly onRoom: (callback: () => void) => void
}
