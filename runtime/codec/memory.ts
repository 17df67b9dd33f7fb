/**
 * Memory for raw bytes that somebody keeps.
 *
 * Memory of its own costs a small piece far more than the copy: it is cut from a slab. A piece that is
 * kept keeps its slab.
 *
 * The engine frees what bytes lie in when it collects the young objects that show them. It does so when
 * these objects fill the young generation, and they are small: long before, the bytes themselves make it
 * collect everything instead, again and again. So bytes come with ballast, dead objects half as large, which
 * fills the young generation in time.
 */
const slab_bytes = 64 * 1024
const slabbed_bytes_max = 8 * 1024
/** Larger objects do not lie among the young ones. */
const ballast_bytes_max = 64 * 1024
const item_bytes = 8

let slab = new ArrayBuffer(0)
let used = 0
/** The last ballast is kept, because an object that nobody can see is not made at all. */
const last: { ballast: readonly unknown[] } = { ballast: [] }

function weigh(bytes: number): void {
  const items = Math.min(bytes / 2, ballast_bytes_max) / item_bytes
  last.ballast = Array<unknown>(Math.floor(items))
}

/** Memory of `bytes` bytes, whatever is in them. */
export function memoryFor(bytes: number): Uint8Array {
  if (bytes > slabbed_bytes_max) {
    weigh(bytes)
    return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer)
  }
  if (used + bytes > slab.byteLength) {
    weigh(slab_bytes)
    slab = Buffer.allocUnsafeSlow(slab_bytes).buffer
    used = 0
  }
  const made = new Uint8Array(slab, used, bytes)
  used += (bytes + 7) & ~7
  return made
}
