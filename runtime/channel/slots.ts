/**
 * Numbers for what is in flight. A number is a slot's index in its low bits and, above, how often the slot was
 * used, so that a late answer is not taken for one to a later call. No number is 0.
 */
const index_bits = 16
const once = 1 << index_bits
const index_mask = once - 1
/** Larger ones would be objects of their own. */
const number_max = 0x7fff_ffff

export class Slots<T> {
  readonly #max: number
  readonly #values: (T | null)[] = []
  readonly #numbers: number[] = []
  readonly #free: number[] = []
  used = 0

  /** `max` is at most 65,536. */
  constructor(max: number) {
    this.#max = max
  }

  get isFull(): boolean {
    return this.used >= this.#max
  }

  indexOf(number: number): number {
    return number & index_mask
  }

  /** Takes a slot; the caller has looked whether there is one. */
  take(value: T): number {
    this.used += 1
    const index = this.#free.pop() ?? this.#values.length
    const next = ((this.#numbers[index] ?? index) + once) & number_max
    const number = next === 0 ? once : next
    this.#numbers[index] = number
    this.#values[index] = value
    return number
  }

  /** Gives a slot back; null when the number is not in use. */
  free(number: number): T | null {
    const index = number & index_mask
    if (this.#numbers[index] !== number) return null
    const value = this.#values[index] ?? null
    if (value === null) return null
    this.#values[index] = null
    this.#free.push(index)
    this.used -= 1
    return value
  }

  /** Empties all slots and returns what was in them. */
  drain(): readonly T[] {
    const all = this.#values.filter((value) => value !== null)
    this.#values.forEach((value, index) => {
      if (value !== null) this.#free.push(index)
    })
    this.#values.fill(null)
    this.used = 0
    return all
  }
}
