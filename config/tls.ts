/** Where a process finds the certificates that it proves itself and checks others with. */
import { Type, type Static } from 'typebox'

const path = Type.String({ minLength: 1, maxLength: 4096 })

/** Paths of four PEM files, of which only `key` is secret. */
export const tlsFiles = Type.Object({
  /** The host's own certificate. */
  certificate: path,
  /** Its private key, readable by its owner alone. */
  key: path,
  /** The certificate of the rack's authority. */
  authority: path,
  /** The authority's list of revoked certificates. */
  revocations: path,
})
/** Paths of a server's certificate, with those behind it, and of its key. */
export const serverTls = Type.Object({ certificate: path, key: path })
export type ServerTls = Static<typeof serverTls>
export type TlsFiles = Static<typeof tlsFiles>
