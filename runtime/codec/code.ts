/** What the code of a piece is put together from. */

/** Three pieces of code for one schema. */
export interface Piece {
  /** Statements that write `x`. */
  readonly write: (x: string) => string
  /** Statements that read into the variable `x`. */
  readonly read: (x: string) => string
  /** An expression that copies `x`. */
  readonly copy: (x: string) => string
  /** For how many bytes whoever has it write makes room; null when it makes room itself. */
  readonly bytes: number | null
  /** Whether there is text in its lists. */
  readonly hasTexts: boolean
}

/**
 * What begins and ends a function that writes or reads: `b` is the memory, `at` the place in it, and `n` the
 * place among the texts, if there are any in lists.
 */
export function placeOf(hasTexts: boolean): { readonly enter: string; readonly leave: string } {
  return hasTexts
    ? {
        enter: 'const b=c.buffer;const t=c.texts;let at=c.at,n=c.text_at;',
        leave: 'c.at=at;c.text_at=n;',
      }
    : { enter: 'const b=c.buffer;let at=c.at;', leave: 'c.at=at;' }
}
/** `code` calls what works at the cursor's place: it is told the place before, and asked for it afterwards. */
export const outside = (code: string, hasTexts = false): string =>
  hasTexts ? `c.at=at;c.text_at=n;${code};at=c.at;n=c.text_at;` : `c.at=at;${code};at=c.at;`

/** Throws Overflow where fewer bytes are left to write. */
export const room = (bytes: number): string => `if(at+${bytes}>c.limit)throw overflow;`
/** Makes the room that a piece leaves to others. */
export const makeRoom = ({ bytes }: Piece): string => (bytes === null ? '' : room(bytes))

/** What a number takes at most, and the head of a list (cursor.ts). */
export const number_bytes_max = 9
export const list_head_bytes_max = 5

/** Writes the number `x`. Where 0 comes as -0 too, what is small begins with 1. */
export const writeSmall = (x: string, least = 0): string =>
  `if(${x}>=${least}&&${x}<128&&(${x}|0)===${x})b[at++]=${x};else{${outside(`writeNumber(c,${x})`)}}`
/** Reads a number into the variable `x`. */
export const readSmall = (x: string, otherwise: 'readNumber' | 'readCount'): string =>
  `${x}=b[at];if(${x}<128)at++;else{${outside(`${x}=${otherwise}(c)`)}}`
/** Writes the head of a list whose length the schema knows. */
export const writeHead = (count: number): string =>
  count < 16 ? `b[at++]=${0x90 | count};` : outside(`writeListHead(c,${count})`)
/** Reads it; `refuse` is for one of another length. */
export const readHead = (count: number, refuse: string): string =>
  `if(${count}<16&&b[at]===${0x90 | count})at++;else{${outside(`if(readListHead(c)!==${count})${refuse}`)}}`

/** What has no schema travels as msgpack within msgpack. */
export const anything: Piece = {
  write: (x) => outside(`writeAny(c,${x})`),
  read: (x) => outside(`${x}=readAny(c)`),
  copy: (x) => `clone(${x})`,
  bytes: null,
  hasTexts: false,
}

/** Refuses the text `x` where a character was cut in two: no half of it is text. */
export const refuseHalves = (x: string): string =>
  `if(!c.is_ascii&&!${x}.isWellFormed())wrong("","text ends in a character");`

/** A constant as code. */
export const literal = (value: unknown): string => JSON.stringify(value)

/** Statements, one after another. */
export const all = (...statements: readonly string[]): string => statements.join('')
