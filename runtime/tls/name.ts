/** How a certificate names a host. */
import type { X509Certificate } from 'node:crypto'
import { dnsZone } from '#config/addressing.ts'

const scheme = 'luge:host:'

/** What a host's id may be, in a certificate and on the wire. */
export const hostPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/** The name in a host's certificate. */
export const hostUri = (host: string): string => `${scheme}${host}`

/**
 * The names that internal DNS has for a host, as a zone and as a sled: what clients of the internal APIs
 * that know nothing of our URI insist on. Nobody here goes by them.
 */
export const hostNames = (host: string): readonly string[] =>
  /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/i.test(host)
    ? [`${host}.host.${dnsZone}`, `${host}.sled.${dnsZone}`]
    : []

/** The host that a certificate is for; null when it names none, or more than one. */
export function hostOf(certificate: X509Certificate): string | null {
  const names = certificate.subjectAltName ?? ''
  // Names with commas in them come in quotes; none of ours has any, so none can pass for two.
  if (names.includes('"')) return null
  const prefix = `URI:${scheme}`
  const hosts = names
    .split(', ')
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
  const [host] = hosts
  return hosts.length === 1 && host !== undefined && hostPattern.test(host) ? host : null
}
