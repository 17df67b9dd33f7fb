import { err } from '#runtime/result.ts'
import type { Homes } from '#runtime/actor/virtual.ts'

/** Where virtual actors live, by whatever session this process has now. */
export class SimHomes implements Homes {
  readonly here: string
  #now: Homes | null = null
  readonly #listeners = new Set<() => void>()

  constructor(here: string) {
    this.here = here
  }

  enter(homes: Homes): void {
    this.#now = homes
    homes.onChange(() => {
      for (const listener of this.#listeners) listener()
    })
  }

  home: Homes['home'] = (kind, id) => this.#now?.home(kind, id) ?? null
  claim: Homes['claim'] = async (kind, id) =>
    (await this.#now?.claim(kind, id)) ?? err('not_live', `${this.here} has not joined yet`)
  standing: Homes['standing'] = (tenure) => this.#now?.standing(tenure) ?? 'lost'
  release: Homes['release'] = async (tenure) => await this.#now?.release(tenure)
  onChange: Homes['onChange'] = (callback) => {
    this.#listeners.add(callback)
    return () => {
      this.#listeners.delete(callback)
    }
  }
}
