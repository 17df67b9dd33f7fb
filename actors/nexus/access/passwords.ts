/**
 * Passwords as Argon2id hashes in PHC form. Hashing runs on libuv's threads: a login takes half a second of
 * a processor, and nobody else waits for it.
 */
import { argon2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Random } from '#runtime/random.ts'

const derive = promisify(argon2)
const tag_bytes = 32
const salt_bytes = 16
const form = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

/** What a hash takes: memory in KiB, and how often all of it is gone through. */
export interface Cost {
  readonly memory: number
  readonly passes: number
  readonly parallelism: number
}
/** The parameters of the specification (§5.5). */
export const standardCost: Cost = { memory: 98_304, passes: 13, parallelism: 1 }

export class Passwords {
  readonly #cost: Cost

  /** New hashes take `cost`; those that are there keep what they were made with. */
  constructor(cost: Cost) {
    this.#cost = cost
  }

  /** What the store keeps of a password. */
  async hash(random: Random, password: string): Promise<string> {
    const salt = Buffer.from(random.bytes(salt_bytes))
    const tag = await hashWith(this.#cost, salt, password)
    const { memory, passes, parallelism } = this.#cost
    return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${plain(salt)}$${plain(tag)}`
  }

  /** Whether this is the password. Without a hash it takes as long, and says no. */
  async matches(hash: string | null, password: string): Promise<boolean> {
    const [, memory, passes, parallelism, salt = '', tag = ''] = form.exec(hash ?? '') ?? []
    if (memory === undefined) {
      await hashWith(this.#cost, Buffer.alloc(salt_bytes), password)
      return false
    }
    const cost = {
      memory: Number(memory),
      passes: Number(passes),
      parallelism: Number(parallelism),
    }
    const wanted = Buffer.from(tag, 'base64')
    const made = await hashWith(cost, Buffer.from(salt, 'base64'), password)
    return made.length === wanted.length && timingSafeEqual(made, wanted)
  }
}

async function hashWith(cost: Cost, salt: Buffer, password: string): Promise<Buffer> {
  return await derive('argon2id', { ...cost, message: password, nonce: salt, tagLength: tag_bytes })
}

/** PHC strings do without the padding. */
const plain = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
