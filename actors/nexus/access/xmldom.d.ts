/** What is used of xmldom: its own types are those of a browser, which everything else would see too. */
interface Elements {
  readonly length: number
  item(index: number): Element | null
}
export interface Element {
  readonly localName: string | null
  readonly namespaceURI: string | null
  readonly parentNode: unknown
  readonly textContent: string | null
  /** Empty when it is not there. */
  getAttribute(name: string): string
  getElementsByTagNameNS(namespace: string, name: string): Elements
}
export interface Document {
  readonly documentElement: Element | null
}
type Note = (fault: string) => void
export class DOMParser {
  constructor(options: {
    readonly errorHandler: {
      readonly warning: Note
      readonly error: Note
      readonly fatalError: Note
    }
  })
  parseFromString(text: string, type: string): Document | undefined
}
