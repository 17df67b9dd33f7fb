/**
 * Rendezvous hashing: every member gets a score for a name, and the highest is the name's home. All
 * who know the same members agree without asking. When a member goes, only its own names move; when
 * one comes, it takes its share from all and nothing else moves.
 */

/** The home of a name among these members; null when there are none. The order plays no part. */
export function homeOf(name: string, member_ids: Iterable<string>): string | null {
  const hashed = hash(name)
  let home: string | null = null
  let highest = -1
  for (const member_id of member_ids) {
    const score = mix(hashed ^ mix(hash(member_id)))
    if (score > highest || (score === highest && home !== null && member_id < home)) {
      home = member_id
      highest = score
    }
  }
  return home
}

/** 32 bits of a text (FNV-1a over its UTF-16 units). Must never change: members of two versions agree. */
function hash(text: string): number {
  let state = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index)
    state = Math.imul(state ^ (unit & 0xff), 0x01000193)
    state = Math.imul(state ^ (unit >>> 8), 0x01000193)
  }
  return mix(state)
}

/** Spreads every bit over all others (MurmurHash3's last step). */
function mix(value: number): number {
  let state = value
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35)
  return (state ^ (state >>> 16)) >>> 0
}
