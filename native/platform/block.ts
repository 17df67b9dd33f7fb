/** Volumes of the sled and how a guest reaches them. */
import type { Result } from '#runtime/result.ts'

export type BlockFailure = 'no_space' | 'os_failed'
export type FillFailure = BlockFailure | 'image_unreachable' | 'image_too_large'

export interface VolumeSpec {
  readonly id: string
  readonly size_bytes: number
  readonly block_size: number
  readonly source:
    | { readonly type: 'alpine'; readonly size_bytes: number }
    | { readonly type: 'url'; readonly url: string; readonly size_bytes: number }
    | null
}
export interface Volume {
  readonly id: string
  readonly size_bytes: number
  readonly exported: boolean
}
export interface Endpoint {
  /** Path of the NBD server's unix socket. */
  readonly socket: string
  readonly export: string
}

type TakeIn = (
  id: string,
  address: string,
  signal: AbortSignal,
) => Promise<Result<null, BlockFailure | 'not_found' | 'source_gone'>>

export interface Block {
  /** The volume as the disk has it; null when there is none. A half-made one counts as none. */
  readonly find: (id: string) => Promise<Result<Volume | null, 'os_failed'>>
  /** Makes the volume, filled from its source. On failure or abort nothing is left. */
  readonly create: (spec: VolumeSpec, signal: AbortSignal) => Promise<Result<Volume, FillFailure>>
  /**
   * Makes a volume that begins with the bytes that another has at one moment, also while that one is
   * offered and written to; what is beyond them is zeros. On failure or abort nothing is left. The
   * caller sees to it that the other volume's server neither comes nor goes meanwhile.
   */
  readonly copy: (
    from: string,
    to: { readonly id: string; readonly size_bytes: number },
    signal: AbortSignal,
  ) => Promise<Result<Volume, BlockFailure | 'not_found'>>
  readonly export: (
    id: string,
    read_only: boolean,
  ) => Promise<Result<Endpoint, 'not_found' | 'os_failed'>>
  readonly unexport: (id: string) => Promise<Result<null, 'os_failed'>>
  /** Lets other sleds of the rack have a volume; answers with where, for their `follow` and `fill`. */
  readonly offer: (id: string) => Promise<Result<string, 'not_found' | 'os_failed'>>
  /**
   * Has a volume take in what another sled offers at this address under the same id, while a guest writes
   * to that one. Answers when it has caught up; it follows what is written until `fill`.
   */
  readonly follow: TakeIn
  /** Has a volume hold what another sled offers: nobody writes there any more. */
  readonly fill: TakeIn
  /** Removes the volume; absent is fine. */
  readonly destroy: (id: string) => Promise<Result<null, 'os_failed'>>
  readonly list: () => Promise<Result<readonly Volume[], 'os_failed'>>
  /** Asks an image's URL for its size with HEAD. */
  readonly probe: (
    url: string,
  ) => Promise<Result<number, 'unreachable_url' | 'bad_status' | 'no_length'>>
  /** Ends every server, also one that a killed process started; the volumes stay. */
  readonly unexportAll: () => Promise<Result<null, 'os_failed'>>
  /** Ends every server and removes every volume of this sled, also what a killed process made. */
  readonly destroyAll: () => Promise<Result<null, 'os_failed'>>
}
