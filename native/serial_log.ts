/** A guest's console output, kept whole in a file that the guest's machine itself writes. */
import { closeSync, fstatSync, openSync, readSync, watch } from 'node:fs'
import type { SerialChunk } from './platform/vmm.ts'

/** Output from an offset; a negative one counts back from the end. Past the end there is nothing. */
export function readSerial(path: string, from: number, max_bytes: number): SerialChunk {
  const fd = openSync(path, 'r')
  try {
    const { size } = fstatSync(fd)
    const start = from < 0 ? Math.max(0, size + from) : Math.min(from, size)
    const data = new Uint8Array(Math.min(max_bytes, size - start))
    const read = readSync(fd, data, 0, data.length, start)
    return { data: data.subarray(0, read), last_byte_offset: start + read }
  } finally {
    closeSync(fd)
  }
}

/** Like readSerial, but waits up to `wait_ms` for the first byte; ends early when aborted. */
export async function followSerial(
  path: string,
  from: number,
  options: { readonly max_bytes: number; readonly wait_ms: number; readonly signal: AbortSignal },
): Promise<SerialChunk> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const watcher = watch(path, () => {
    if (readSerial(path, from, 1).data.length > 0) resolve()
  })
  watcher.on('error', () => {
    resolve()
  })
  const timer = setTimeout(resolve, options.wait_ms)
  const onAbort = () => {
    resolve()
  }
  options.signal.addEventListener('abort', onAbort, { once: true })
  try {
    // The watch is on before this look: nothing written since can be missed.
    const ready = readSerial(path, from, options.max_bytes)
    if (ready.data.length > 0 || options.wait_ms === 0) return ready
    await promise
    return readSerial(path, from, options.max_bytes)
  } finally {
    watcher.close()
    clearTimeout(timer)
    options.signal.removeEventListener('abort', onAbort)
  }
}
