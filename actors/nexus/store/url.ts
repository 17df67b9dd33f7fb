/** Where a store is, from its configured text. */

export type StoreUrl =
  | { readonly dialect: 'sqlite'; readonly path: string }
  | {
      readonly dialect: 'postgres'
      readonly url: string
      /** What may be shown of it: without password and options. */
      readonly shown: string
      /** The directory of the unix socket; null when it is reached by TCP. */
      readonly socket: string | null
    }

const help = 'write sqlite:PATH or postgres://USER@HOST/DATABASE'

/** Reads `sqlite:PATH` (or `sqlite::memory:`) and `postgres://…`. Throws a sentence without the text. */
export function readStoreUrl(text: string): StoreUrl {
  if (text.startsWith('sqlite:') && text.length > 'sqlite:'.length) {
    return { dialect: 'sqlite', path: text.slice('sqlite:'.length) }
  }
  if (!/^postgres(ql)?:\/\//.test(text)) {
    throw new Error(`the store's URL has no known form: ${help}`)
  }
  // The text may hold a password, so what a parser would say about it is not shown.
  const url = URL.parse(text)
  if (url === null || url.pathname.length < 2) {
    throw new Error(`the store's URL cannot be read: ${help}`)
  }
  const host = decoded(url.host === '' ? (url.searchParams.get('host') ?? '') : url.host)
  const user = url.username === '' ? '' : `${url.username}@`
  return {
    dialect: 'postgres',
    url: text,
    shown: `postgres://${user}${host}${url.pathname}`,
    socket: host.startsWith('/') ? host : null,
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The same for people and logs. */
export const shownUrl = (url: StoreUrl): string => (url.dialect === 'sqlite' ? url.path : url.shown)
