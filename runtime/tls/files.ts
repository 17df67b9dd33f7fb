/** Where the directory of a host has its certificates. */
import { join } from 'node:path'
import type { TlsFiles } from '#config/tls.ts'

/** The four files of a directory that `AuthorityStore.provide` fills. */
export const hostFiles = (directory: string): TlsFiles => ({
  certificate: join(directory, 'cert.pem'),
  key: join(directory, 'key.pem'),
  authority: join(directory, 'ca.pem'),
  revocations: join(directory, 'crl.pem'),
})
