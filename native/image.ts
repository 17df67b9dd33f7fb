/** Disk images behind a URL: their size by HEAD, as Nexus asks when an image is made. */
import { limits } from '#config/limits.ts'
import type { Block } from '#native/platform/block.ts'
import { err, explain, ok } from '#runtime/result.ts'

/** The size in bytes that the server announces. Only http and https; no redirects are followed. */
export const probeImage: Block['probe'] = async (url) => {
  const parsed = URL.parse(url)
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol)) {
    return err('unreachable_url', `"${url}" is not an http or https URL`)
  }
  // Loaded when it is used: it is a hundred modules, and every thread of a sled has this file.
  const { request } = await import('undici')
  try {
    const response = await request(parsed, {
      method: 'HEAD',
      headersTimeout: limits.image_probe_ms_max,
      bodyTimeout: limits.image_probe_ms_max,
      signal: AbortSignal.timeout(limits.image_probe_ms_max),
    })
    await response.body.dump()
    if (response.statusCode < 200 || response.statusCode > 299) {
      return err('bad_status', String(response.statusCode))
    }
    const length = Number(response.headers['content-length'] ?? Number.NaN)
    if (!Number.isSafeInteger(length) || length < 0) return err('no_length', 'no content length!')
    return ok(length)
  } catch (error) {
    return err('unreachable_url', explain(error))
  }
}
