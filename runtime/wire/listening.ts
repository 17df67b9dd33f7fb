/** Whether a unix socket's file still leads to somebody. */
import { createConnection } from 'node:net'

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
