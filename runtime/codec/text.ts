/**
 * Short ASCII out of bytes: one call of `String.fromCharCode` with as many arguments as there are
 * characters costs a third of a loop or of the engine's decoder. The code for each length is written
 * here by a program, because by hand it would be the same line eighteen times.
 */

/** Lengths with code of their own: short words, and a UUID. */
const lengths = [...Array.from({ length: 17 }, (_, length) => length), 36]

function caseOf(length: number): string {
  const names = Array.from({ length }, (_, index) => `b${index}`)
  const reads = names.map((name, index) => `${name}=b[p+${index}]`)
  if (length === 0) return 'case 0:return "";'
  return `case ${length}:{const ${reads.join(',')};return (${names.join('|')})>127?null:f(${names.join(',')})}`
}

/**
 * `shortText(buffer, at, length)`: the text, or null when it is not ASCII or its length has no code of
 * its own. The caller has made sure that the bytes are there.
 */
// Holds numbers only; see compile.ts for the other place where text becomes code.
export const shortText = new Function(
  'f',
  `return function shortText(b,p,n){switch(n){${lengths.map(caseOf).join('')}default:return null}}`,
)(String.fromCharCode) as (buffer: Buffer, at: number, length: number) => string | null
