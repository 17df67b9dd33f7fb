/**
 * Passwords as Argon2id hashes in PHC form, with the parameters of the specification (§5.5). Hashing
 * runs on libuv's threads: a login takes half a second of a processor, and nobody else waits for it.
 */
import { argon2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Random } from '#runtime/random.ts'

const derive = promisify(argon2)
const cost = { memory: 98_304, passes: 13, parallelism: 1 } as const
const tag_bytes = 32
const salt_bytes = 16
const form = new RegExp(
  `^\\$argon2id\\$v=19\\$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}\\$([A-Za-z0-9+/]+)\\$([A-Za-z0-9+/]+)$`,
)

async function hashWith(salt: Buffer, password: string): Promise<Buffer> {
  return await derive('argon2id', { ...cost, message: password, nonce: salt, tagLength: tag_bytes })
}

/** What the store keeps of a password. */
export async function hashPassword(random: Random, password: string): Promise<string> {
  const salt = Buffer.from(random.bytes(salt_bytes))
  const tag = await hashWith(salt, password)
  const { memory, passes, parallelism } = cost
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${plain(salt)}$${plain(tag)}`
}

/** Whether this is the password. Without a hash it takes as long, and says no. */
export async function isPassword(hash: string | null, password: string): Promise<boolean> {
  const [, salt = '', tag = ''] = form.exec(hash ?? '') ?? []
  const wanted = Buffer.from(tag, 'base64')
  const salted = hash === null ? Buffer.alloc(salt_bytes) : Buffer.from(salt, 'base64')
  const made = await hashWith(salted, password)
  return made.length === wanted.length && timingSafeEqual(made, wanted)
}

/** PHC strings do without the padding. */
const plain = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
