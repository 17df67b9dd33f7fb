/** curl, as a program that speaks an internal API: with certificates of the rack, or others, or none. */
import { spawn } from 'node:child_process'
import type { TlsFiles } from '#config/tls.ts'

export interface CurlOptions {
  /** Where the server is. */
  readonly at: { readonly port: number } | { readonly path: string }
  /** The host that its certificate is for. */
  readonly host: string
  /** Whose certificate is shown, and whose authority is trusted; null: none is shown. */
  readonly as: TlsFiles | null
  readonly authority: string
}
export interface Curled {
  /** curl's own exit code: 0 when there was an answer, whatever it said. */
  readonly exit: number | null
  readonly stderr: string
  readonly status: number
  readonly text: string
  readonly json: any
}

/** Sends a request, as JSON unless `body` is text already. */
export async function curl(
  { at, host, as, authority }: CurlOptions,
  where: `${'GET' | 'PUT' | 'POST' | 'DELETE'} /${string}`,
  body?: unknown,
): Promise<Curled> {
  const [method = '', path = ''] = where.split(' ')
  const name = `${host}.host.control-plane.oxide.internal`
  const place =
    'path' in at ? ['--unix-socket', at.path] : ['--resolve', `${name}:${at.port}:127.0.0.1`]
  const port = 'path' in at ? 443 : at.port
  const given = typeof body === 'string' ? body : JSON.stringify(body)
  const words = [
    ...['-sS', '--max-time', '20', '-w', '\n%{http_code}', '-X', method, ...place],
    ...['--cacert', authority],
    ...(as === null ? [] : ['--cert', as.certificate, '--key', as.key]),
    ...(body === undefined ? [] : ['-H', 'content-type: application/json', '-d', '@-']),
    `https://${name}:${port}${path}`,
  ]
  const child = spawn('curl', words)
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  child.stdin.on('error', () => undefined)
  child.stdin.end(body === undefined ? '' : given)
  const { promise, resolve } = Promise.withResolvers<number | null>()
  child.once('close', resolve)
  const exit = await promise
  const end = stdout.lastIndexOf('\n')
  const text = stdout.slice(0, end)
  const isJson = /^[[{]/.test(text)
  const status = Number(stdout.slice(end + 1))
  return { exit, stderr, status, text, json: isJson ? JSON.parse(text) : null }
}
