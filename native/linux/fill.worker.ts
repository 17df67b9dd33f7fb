/** Fills one new volume from its source: a task of a pool, because it reads, writes and hashes. */
import { open, rm, statfs, type FileHandle } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { request } from 'undici'
import { limits } from '#config/limits.ts'
import type { FillFailure } from '#native/platform/block.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { becomeVolume, reflink } from './volume_file.ts'

export interface FillTask {
  /** Where the volume grows, and its name once it is whole. */
  readonly partial: string
  readonly final: string
  readonly size_bytes: number
  /** Null: the volume is all zeros. `size_bytes` is what the image is known to be. */
  readonly source:
    | { readonly file: string; readonly size_bytes: number }
    | { readonly url: string; readonly size_bytes: number }
    | null
}
type Filled = Result<null, FillFailure>

/** Makes the volume whole or leaves nothing. */
export default async function fill(task: FillTask): Promise<Filled> {
  const { source } = task
  if (source !== null && source.size_bytes > task.size_bytes) {
    return err('image_too_large', `an image of ${source.size_bytes} bytes does not fit`)
  }
  const space = await statfs(dirname(task.partial))
  const free = space.bavail * space.bsize
  if (source !== null && free < source.size_bytes) {
    return err('no_space', `${free} bytes are free, the image has ${source.size_bytes}`)
  }
  await rm(task.partial, { force: true })
  try {
    const filled = await fillPartial(task)
    if (!filled.ok) return filled
    await becomeVolume(task)
    return ok(null)
  } catch (error) {
    return failure(task, error)
  }
}

async function fillPartial({ partial, source }: FillTask): Promise<Filled> {
  if (source !== null && 'file' in source && (await reflink(source.file, partial))) return ok(null)
  const file = await open(partial, 'wx', 0o600)
  try {
    return source === null ? ok(null) : await copy(file, source)
  } finally {
    await file.close()
  }
}

async function copy(file: FileHandle, source: NonNullable<FillTask['source']>): Promise<Filled> {
  if ('file' in source) {
    try {
      return await write(file, createReadStream(source.file, { highWaterMark: 1 << 20 }), source)
    } catch (error) {
      if (isCode(error, 'ENOENT')) {
        return err(
          'image_unreachable',
          `the guest image ${source.file} is missing: tools/guest_image.sh builds it`,
        )
      }
      throw error
    }
  }
  try {
    const response = await request(source.url, {
      headersTimeout: limits.image_probe_ms_max,
      bodyTimeout: limits.image_probe_ms_max,
      signal: AbortSignal.timeout(limits.image_fetch_ms_max),
    })
    if (response.statusCode !== 200) {
      await response.body.dump()
      return err('image_unreachable', `${source.url} answers ${response.statusCode}`)
    }
    return await write(file, response.body, source)
  } catch (error) {
    if (isCode(error, 'ENOSPC')) throw error
    return err('image_unreachable', `${source.url}: ${explain(error)}`)
  }
}

/** Writes a stream that must have exactly the announced size; blocks of zeros stay holes. */
async function write(
  file: FileHandle,
  stream: Readable,
  source: { readonly size_bytes: number },
): Promise<Filled> {
  let at = 0
  for await (const chunk of stream) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk)
    if (at + bytes.length > source.size_bytes) {
      stream.destroy()
      return err('image_unreachable', `the image is longer than the announced ${source.size_bytes}`)
    }
    if (!isZero(bytes)) await writeAll(file, bytes, at)
    at += bytes.length
  }
  if (at < source.size_bytes) {
    return err('image_unreachable', `the image ended after ${at} of ${source.size_bytes} bytes`)
  }
  return ok(null)
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

const zeros = Buffer.alloc(1 << 20)
const isZero = (bytes: Buffer) =>
  bytes.length <= zeros.length && bytes.compare(zeros, 0, bytes.length) === 0

const isCode = (error: unknown, code: string) =>
  error instanceof Error && 'code' in error && error.code === code

function failure(task: FillTask, error: unknown): Filled {
  return isCode(error, 'ENOSPC')
    ? err('no_space', `no space is left for ${task.final}`)
    : err('os_failed', `${task.final}: ${explain(error)}`)
}
