/** Text for nft: elements of sets and maps of the table that all of a namespace's rules are in. */

/** How elements come to sets and maps: beside what is there, or in its place. */
export type Filling = 'add' | 'replace'

/** Fills a set or map, `map ports`. */
export function fillText(what: string, filling: Filling, elements: readonly string[]): string {
  const [kind, name] = what.split(' ')
  const flush = filling === 'replace' ? `flush ${kind} inet luge ${name}\n` : ''
  if (elements.length === 0) return flush
  return `${flush}add element inet luge ${name} { ${elements.join(', ')} }\n`
}
