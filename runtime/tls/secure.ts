/**
 * TLS between hosts: 1.3 only, a certificate on both sides from the rack's authority, and the
 * other end is who its certificate says. A connection is never resumed, because a ticket from
 * before would let in a certificate that has been revoked since.
 */
import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import { X509Certificate } from 'node:crypto'
import {
  connect,
  type CommonConnectionOptions,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls'
import { limits } from '#config/limits.ts'
import type { Clock } from '../clock.ts'
import { err, explain, type Result } from '../result.ts'
import { checkCertificate, type CertificateFault, type Credentials } from './credentials.ts'
import { hostOf } from './name.ts'

/** What is spoken inside (RFC 7301), and whether a peer that names nothing is taken to speak it. */
export interface Language {
  readonly alpn: string
  readonly isAssumed: boolean
}
/** Frames between hosts. */
export const frames: Language = { alpn: 'luge/1', isAssumed: false }
/** Internal APIs; many clients of HTTP/1.1 name nothing. */
export const http: Language = { alpn: 'http/1.1', isAssumed: true }

/** What `tls.createServer` and `tls.connect` share. */
export const mutual = (
  credentials: Credentials,
  language: Language = frames,
): SecureContextOptions & CommonConnectionOptions => ({
  key: credentials.key,
  cert: credentials.certificate,
  ca: credentials.authority,
  crl: credentials.revocations,
  minVersion: 'TLSv1.3',
  requestCert: true,
  rejectUnauthorized: true,
  ALPNProtocols: [language.alpn],
  // Without tickets a session is resumed from a cache, and there is none.
  secureOptions: constants.SSL_OP_NO_TICKET,
})

export type PeerFault = CertificateFault | 'unauthenticated'

/**
 * The host at the other end of a connection whose handshake is done, or why it may not be
 * trusted. Ask again when the credentials changed: a certificate may be revoked by now.
 */
export function peerIdentity(
  socket: TLSSocket,
  credentials: Credentials,
  now_ms: number,
  { alpn, isAssumed }: Language = frames,
): Result<string, PeerFault> {
  if (!socket.authorized) return err('unauthenticated', 'the peer has not proved who it is')
  const spoken = socket.alpnProtocol === false && isAssumed ? alpn : socket.alpnProtocol
  if (socket.getProtocol() !== 'TLSv1.3' || spoken !== alpn) {
    return err('unauthenticated', `the peer does not speak ${alpn} over TLS 1.3`)
  }
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return err('unauthenticated', 'the peer has no certificate')
  return checkCertificate("the peer's certificate", certificate, credentials, now_ms)
}

export interface DialOptions {
  readonly credentials: Credentials
  readonly clock: Clock
}

/**
 * Wraps a connection that was dialled (or still is) to `host`. What is written goes out once the
 * other end proved to be that host; otherwise, and when that takes longer than
 * `tls_handshake_ms_max`, the socket ends with an error that says why.
 */
export function dialSecurely(
  raw: Socket,
  host: string,
  { credentials, clock }: DialOptions,
): TLSSocket {
  const socket = connect({
    ...mutual(credentials),
    socket: raw,
    checkServerIdentity: (_name, { raw: der }) => {
      const found = hostOf(new X509Certificate(der))
      if (found === host) return undefined
      return new Error(`the peer's certificate is for ${found ?? 'no host'}, not for ${host}`)
    },
  })
  const cancel = clock.after(limits.tls_handshake_ms_max, () => {
    socket.destroy(
      new Error(
        `${host} did not finish the TLS handshake within ${limits.tls_handshake_ms_max} ms`,
      ),
    )
  })
  socket.once('close', cancel)
  socket.once('secureConnect', () => {
    cancel()
    const peer = peerIdentity(socket, credentials, clock.now())
    if (!peer.ok) socket.destroy(new Error(peer.detail))
  })
  return socket
}

const ofAnother = "the peer's certificate is not from this rack's authority"
const reasons: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the peer's certificate has expired",
  CERT_NOT_YET_VALID: "the peer's certificate is not valid yet: compare both machines' clocks",
  CERT_REVOKED: "the peer's certificate has been revoked",
  CERT_SIGNATURE_FAILURE: ofAnother,
  DEPTH_ZERO_SELF_SIGNED_CERT: ofAnother,
  SELF_SIGNED_CERT_IN_CHAIN: ofAnother,
  UNABLE_TO_GET_CRL: ofAnother,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ofAnother,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ofAnother,
  INVALID_PURPOSE: "the peer's certificate is not for this end of a connection",
  CRL_HAS_EXPIRED: 'the list of revoked certificates here is out of date: renew it',
  CRL_NOT_YET_VALID:
    "the list of revoked certificates is not valid yet: check this machine's clock",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'the peer has no certificate',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'the peer does not speak TLS 1.3',
  ERR_SSL_WRONG_VERSION_NUMBER: 'the peer does not speak TLS',
  ERR_SSL_HTTP_REQUEST: 'the peer speaks HTTP without TLS',
  ECONNRESET: 'the peer ended the connection during the handshake: its log says why',
}

/** Why a handshake failed, in one sentence. `fault` is an error, or OpenSSL's code of one. */
export function handshakeFault(fault: unknown, { alpn }: Language = frames): string {
  const code = fault instanceof Error && 'code' in fault ? fault.code : fault
  if (code === 'ERR_SSL_NO_APPLICATION_PROTOCOL') return `the peer does not speak ${alpn}`
  return (typeof code === 'string' ? reasons[code] : undefined) ?? explain(fault)
}
