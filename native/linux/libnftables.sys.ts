/**
 * nftables through libnftables: rules as text, applied whole or not at all. A context works in the
 * network namespace it was made in, wherever its thread goes later.
 */
import koffi from 'koffi'
import type { Trace } from './netlink.ts'

type Context = bigint

function declare(): {
  readonly create: (flags: number) => Context | null
  readonly free: (context: Context) => void
  readonly bufferOutput: (context: Context) => number
  readonly bufferError: (context: Context) => number
  readonly run: (context: Context, text: string) => number
  readonly output: (context: Context) => string
  readonly error: (context: Context) => string
} {
  const library = load()
  return {
    create: library.func('void *nft_ctx_new(uint32_t)') as (flags: number) => Context | null,
    free: library.func('void nft_ctx_free(void *)') as (context: Context) => void,
    bufferOutput: library.func('int nft_ctx_buffer_output(void *)') as (context: Context) => number,
    bufferError: library.func('int nft_ctx_buffer_error(void *)') as (context: Context) => number,
    run: library.func('int nft_run_cmd_from_buffer(void *, const char *)') as (
      context: Context,
      text: string,
    ) => number,
    output: library.func('const char *nft_ctx_get_output_buffer(void *)') as (
      context: Context,
    ) => string,
    error: library.func('const char *nft_ctx_get_error_buffer(void *)') as (
      context: Context,
    ) => string,
  }
}
function load(): ReturnType<typeof koffi.load> {
  try {
    return koffi.load('libnftables.so.1')
  } catch (cause) {
    const advice = 'install the package libnftables1 (nftables)'
    throw new NftError(`libnftables.so.1 cannot be loaded: ${advice}`, { cause })
  }
}
// Loaded at first use: a machine without it can still run everything that makes no guest port.
let library: ReturnType<typeof declare> | null = null

/** A refusal of nftables, with the sentence and the line it points at. */
export class NftError extends Error {
  override readonly name = 'NftError'
}

export class Nft implements Disposable {
  readonly #library: ReturnType<typeof declare>
  readonly #trace: Trace
  #context: Context | null

  /** Makes a context in the calling thread's namespace. */
  constructor(trace: Trace) {
    library ??= declare()
    this.#library = library
    this.#trace = trace
    this.#context = library.create(0)
    if (this.#context === null) throw new NftError('cannot make an nftables context')
    library.bufferOutput(this.#context)
    library.bufferError(this.#context)
  }

  /** Applies `text` as one transaction and returns what it printed; `what` completes "cannot …". */
  apply(text: string, what: string): string {
    if (this.#context === null) throw new Error('the nftables context is closed')
    this.#trace(what)
    const failed = this.#library.run(this.#context, text) !== 0
    // Both buffers are emptied by being read.
    const output = this.#library.output(this.#context)
    const error = this.#library.error(this.#context)
    if (failed) throw new NftError(`cannot ${what}: ${error.trim().replaceAll(/\s*\n\s*/g, ' | ')}`)
    return output
  }

  [Symbol.dispose](): void {
    if (this.#context === null) return
    this.#library.free(this.#context)
    this.#context = null
  }
}
