/**
 * The keys that the serial console keeps for itself. Ctrl-C ends the session; Ctrl-A takes the
 * meaning off the next key, so Ctrl-A Ctrl-C reaches the guest as Ctrl-C. A pure machine over bytes,
 * because a key pair may arrive in two reads.
 */
const ctrlA = 0x01
const ctrlC = 0x03

export interface Keys {
  /** Ctrl-A was typed and its key is still to come. */
  readonly escaped: boolean
}
export const noKeys: Keys = { escaped: false }

export interface Typed {
  readonly keys: Keys
  /** What the guest gets. When `quit`, this is sent before the session ends. */
  readonly send: Uint8Array
  readonly quit: boolean
}

/** What typing `bytes` after `keys` means. Bytes behind the one that quits are dropped. */
export function type(keys: Keys, bytes: Uint8Array): Typed {
  const send: number[] = []
  let escaped = keys.escaped
  for (const byte of bytes) {
    if (escaped) {
      send.push(byte)
      escaped = false
    } else if (byte === ctrlA) {
      escaped = true
    } else if (byte === ctrlC) {
      return { keys: noKeys, send: Uint8Array.from(send), quit: true }
    } else {
      send.push(byte)
    }
  }
  return { keys: { escaped }, send: Uint8Array.from(send), quit: false }
}
