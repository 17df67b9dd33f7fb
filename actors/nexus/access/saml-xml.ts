/** XML that strangers send: no document types, so nothing to expand or to fetch, and bounded. */
import { DOMParser, type Document, type Element } from '@xmldom/xmldom'
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '#runtime/result.ts'

export const samlNames = {
  metadata: 'urn:oasis:names:tc:SAML:2.0:metadata',
  protocol: 'urn:oasis:names:tc:SAML:2.0:protocol',
  assertion: 'urn:oasis:names:tc:SAML:2.0:assertion',
  signature: 'http://www.w3.org/2000/09/xmldsig#',
} as const

/** The root of a well-formed document. */
export function parseXml(text: string): Result<Element, 'malformed'> {
  if (/<!(DOCTYPE|ENTITY)/i.test(text)) return err('malformed', 'document types are not allowed')
  if (depthOf(text) > limits.saml_depth_max) return err('malformed', 'it is nested too deeply')
  const faults: string[] = []
  const note = (fault: string) => void faults.push(fault.split('\n')[0] ?? '')
  let document: Document | undefined
  try {
    document = new DOMParser({
      errorHandler: { warning: note, error: note, fatalError: note },
    }).parseFromString(text, 'text/xml')
  } catch {
    return err('malformed', 'it is no XML')
  }
  const root = document?.documentElement ?? null
  if (root === null || faults.length > 0) return err('malformed', faults[0] ?? 'it is no XML')
  return ok(root)
}

/** How deep tags are within each other at most: parsers and signatures go down by recursion. */
function depthOf(text: string): number {
  let [depth, deepest] = [0, 0]
  for (const [tag] of text.matchAll(/<\/?[A-Za-z_][^>]*>/g)) {
    if (tag.startsWith('</')) depth -= 1
    else if (!tag.endsWith('/>')) deepest = Math.max(deepest, (depth += 1))
  }
  return deepest
}

/** All elements of this name below another. */
export function elementsOf(within: Element, namespace: string, name: string): readonly Element[] {
  const found = within.getElementsByTagNameNS(namespace, name)
  return Array.from({ length: found.length }, (_, index) => found.item(index)).filter(
    (element) => element !== null,
  )
}

/** Those of them that are its children. */
export const childrenOf = (of: Element, namespace: string, name: string): readonly Element[] =>
  elementsOf(of, namespace, name).filter((element) => element.parentNode === of)
