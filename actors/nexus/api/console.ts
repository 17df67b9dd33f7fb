/**
 * The console: a build of it lies in a directory, whose index.html answers for all of its pages and whose
 * assets are what those load. These paths are no part of the API's document (spec §20).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { StaticFiles } from '#runtime/static_files.ts'
import { authenticate } from '../access/authn.ts'
import type { Services } from '../context.ts'
import { ApiError } from '#actors/http/errors.ts'

export interface ConsoleFiles {
  readonly files: StaticFiles
  readonly max_age_s: number
}

const pages = ['/', '/device/verify', '/device/success'] as const
const folders = ['/orgs', '/settings', '/sys'] as const
/** What these paths look like, for whoever tries another method. */
export const consoleForms: readonly RegExp[] = [
  ...[...pages, '/login', '/spoof_login'].map((page) => new RegExp(`^${page}$`)),
  ...folders.map((folder) => new RegExp(`^${folder}(/.*)?$`)),
  /^\/assets\//,
]

/** By what a file's name ends with; others are not served. */
const contentTypes: Readonly<Record<string, string>> = {
  js: 'application/javascript',
  css: 'text/css',
  html: 'text/html; charset=UTF-8',
  ico: 'image/x-icon',
  map: 'application/json',
  otf: 'font/otf',
  png: 'image/png',
  svg: 'image/svg+xml',
  ttf: 'font/ttf',
  txt: 'text/plain; charset=UTF-8',
  woff: 'font/woff',
  woff2: 'font/woff2',
}

/** Adds the console's paths; without its files they are 404, and say why. */
export function addConsole(
  server: FastifyInstance,
  services: Services,
  console: ConsoleFiles | null,
): void {
  const index = async (_request: FastifyRequest, reply: FastifyReply) => {
    await sendIndex(reply, console)
  }
  const indexOrLogin = async (request: FastifyRequest, reply: FastifyReply) => {
    if (await isSomebody(services, request)) await sendIndex(reply, console)
    else await reply.redirect(loginUrl(request.originalUrl), 302)
  }
  for (const page of pages) server.get(page, indexOrLogin)
  for (const folder of folders) {
    server.get(folder, indexOrLogin)
    server.get(`${folder}/*`, indexOrLogin)
  }
  server.get('/spoof_login', index)
  server.get('/login', async (request, reply) => {
    const { searchParams } = new URL(request.url, 'http://here')
    await reply.redirect(loginUrl(searchParams.get('state')), 302)
  })
  server.get('/assets/*', async (request, reply) => {
    await sendAsset(request, reply, console)
  })
}

const loginUrl = (state: string | null) =>
  state === null ? '/spoof_login' : `/spoof_login?${new URLSearchParams({ state }).toString()}`

async function isSomebody(services: Services, { headers }: FastifyRequest): Promise<boolean> {
  const { authorization = null, cookie = null } = headers
  try {
    await authenticate(services, { authorization, cookie })
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false
    throw error
  }
}

async function sendIndex(reply: FastifyReply, console: ConsoleFiles | null): Promise<void> {
  const page = (await console?.files.read(['index.html'])) ?? null
  if (page === null) {
    const why = console === null ? 'is not set' : 'has no index.html'
    throw new ApiError(404, null, `there is no console: console.static_dir ${why}`)
  }
  await reply
    .header('content-type', contentTypes['html'])
    .header('cache-control', `max-age=${console?.max_age_s ?? 0}`)
    .send(page)
}

async function sendAsset(
  request: FastifyRequest,
  reply: FastifyReply,
  console: ConsoleFiles | null,
): Promise<void> {
  const names = String(Object(request.params)['*']).split('/')
  const name = names.at(-1) ?? ''
  const type = contentTypes[/\.([a-z0-9]+)$/.exec(name)?.[1] ?? '']
  if (console === null || type === undefined) throw new ApiError(404, null, 'Not Found')
  const path = ['assets', ...names]
  const isPacked = takesGzip(request.headers['accept-encoding'])
  const packed = isPacked ? await console.files.read([...path.slice(0, -1), `${name}.gz`]) : null
  const file = packed ?? (await console.files.read(path))
  if (file === null) throw new ApiError(404, null, 'Not Found')
  if (packed !== null) void reply.header('content-encoding', 'gzip')
  await reply
    .header('content-type', type)
    .header('cache-control', `max-age=${console.max_age_s}`)
    .header('vary', 'accept-encoding')
    .send(file)
}

const takesGzip = (accepted: string | string[] | undefined): boolean =>
  String(accepted ?? '')
    .split(',')
    .some((coding) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(coding))
