/** Opening the sockets that others connect to. */
import { rmSync } from 'node:fs'
import { createConnection, type Server } from 'node:net'

/** An address, a unix socket's path, or a listening descriptor that was handed over. */
export type ListenAt =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }
  | { readonly fd: number }

/** Listens. Rejects when the place is taken; a socket's file that leads to nobody is replaced. */
export async function listenAt(server: Server, where: ListenAt): Promise<void> {
  // A process that was killed leaves its socket's file.
  if ('path' in where && !(await isListening(where.path))) rmSync(where.path, { force: true })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(where, resolve)
  await promise
  server.off('error', reject)
  // A connection that could not be accepted (no descriptors, say) is not the end of the others.
  server.on('error', () => undefined)
}

/** True when a process listens on the socket at `path`; false for a file left behind, or none. */
export async function isListening(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = createConnection({ path })
  socket.once('connect', () => {
    resolve(true)
  })
  socket.once('error', () => {
    resolve(false)
  })
  const answer = await promise
  socket.destroy()
  return answer
}
