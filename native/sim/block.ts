/** Volumes in memory, or named in one JSON file so that they outlive the process; scripted faults. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Type } from 'typebox'
import { dirname, join } from 'node:path'
import { probeImage } from '#native/image.ts'
import type { Block, Volume, VolumeSpec } from '#native/platform/block.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { ask, Responder } from './between.ts'

const saved = Type.Array(
  Type.Object({
    id: Type.String(),
    size_bytes: Type.Integer(),
    exported: Type.Boolean(),
    /** What stands at its beginning; absent in files of before. */
    content: Type.Optional(Type.String()),
  }),
)
const volumeRequest = Type.Object({ id: Type.String() })
const volumeAnswer = Type.Object({ content: Type.Union([Type.String(), Type.Null()]) })
type SimVolume = Volume & { readonly content: string }

export interface SimBlock extends Block {
  /** What a volume holds; null when there is none. */
  readonly contentOf: (id: string) => string | null
  /** Writes into a volume, as a guest would. */
  readonly write: (id: string, content: string) => void
  /** Names of methods that fail with `os_failed` while they are in here. */
  readonly faults: Set<string>
}

/**
 * `file`: where the volumes' names are kept; null keeps them in memory only. `directory`: where other
 * sleds ask for volumes.
 */
export function simBlock(
  file: string | null = null,
  directory = file === null ? '.' : dirname(file),
): SimBlock {
  const volumes = load(file)
  const faults = new Set<string>()
  const set = (volume: SimVolume) => {
    volumes.set(volume.id, volume)
    save()
    return volume
  }
  const save = () => {
    if (file !== null) writeFileSync(file, JSON.stringify([...volumes.values()]))
  }
  const guarded = (name: string) =>
    faults.has(name) ? err('os_failed', `${name} fails as scripted`) : null
  const make = (to: Pick<Volume, 'id' | 'size_bytes'>, content: string) =>
    ok(shown(set({ id: to.id, size_bytes: to.size_bytes, exported: false, content })))
  const between = { volumes, set, guarded, path: join(directory, 'volumes.sock') }
  return {
    ...betweenSleds(between),
    faults,
    contentOf: (id) => volumes.get(id)?.content ?? null,
    write: (id, content) => {
      const volume = volumes.get(id)
      if (volume !== undefined) set({ ...volume, content })
    },
    find: async (id) => {
      const volume = volumes.get(id)
      return guarded('find') ?? ok(volume === undefined ? null : shown(volume))
    },
    list: async () => guarded('list') ?? ok([...volumes.values()].map(shown)),
    create: async (spec) => guarded('create') ?? make(spec, imageContent(spec.source)),
    copy: async (from, to) => {
      const volume = volumes.get(from)
      if (volume === undefined) return err('not_found', `there is no volume ${from}`)
      return guarded('copy') ?? make(to, volume.content)
    },
    export: async (id) => {
      const volume = volumes.get(id)
      if (volume === undefined) return err('not_found', `there is no volume ${id}`)
      const fault = guarded('export')
      if (fault !== null) return fault
      set({ ...volume, exported: true })
      return ok({ socket: `/sim/${id}.sock`, export: id })
    },
    unexport: async (id) => {
      const volume = volumes.get(id)
      const fault = guarded('unexport')
      if (fault === null && volume !== undefined) set({ ...volume, exported: false })
      return fault ?? ok(null)
    },
    destroy: async (id) => {
      const fault = guarded('destroy')
      if (fault === null && volumes.delete(id)) save()
      return fault ?? ok(null)
    },
    unexportAll: async () => {
      for (const volume of volumes.values()) set({ ...volume, exported: false })
      return ok(null)
    },
    probe: probeImage,
    destroyAll: async () => {
      volumes.clear()
      if (file !== null) rmSync(file, { force: true })
      return ok(null)
    },
  }
}

/** Volumes that go from sled to sled. */
function betweenSleds({
  volumes,
  set,
  guarded,
  path,
}: {
  readonly volumes: ReadonlyMap<string, SimVolume>
  readonly set: (volume: SimVolume) => unknown
  readonly guarded: (name: string) => Result<never, 'os_failed'> | null
  readonly path: string
}): Pick<Block, 'offer' | 'follow' | 'fill'> {
  const responder = new Responder(path, (request) => ({
    content: fits(volumeRequest, request) ? (volumes.get(request.id)?.content ?? null) : null,
  }))
  const takeIn = async (name: 'follow' | 'fill', id: string, address: string) => {
    const volume = volumes.get(id)
    if (volume === undefined) return err('not_found', `there is no volume ${id}`)
    const fault = guarded(name)
    if (fault !== null) return fault
    try {
      const answer = await ask(address, { id })
      if (fits(volumeAnswer, answer) && answer.content !== null) {
        set({ ...volume, content: answer.content })
        return ok(null)
      }
      return err('source_gone', `volume ${id} is not at ${address} any more`)
    } catch (error) {
      return err('source_gone', `volume ${id} cannot be had at ${address}: ${explain(error)}`)
    }
  }
  return {
    offer: async (id) => {
      if (!volumes.has(id)) return err('not_found', `there is no volume ${id}`)
      const fault = guarded('offer')
      if (fault !== null) return fault
      try {
        await responder.open()
        return ok(responder.path)
      } catch (error) {
        return err('os_failed', `volume ${id} cannot be offered: ${explain(error)}`)
      }
    },
    // What is written later is in the answer to the second question.
    follow: async (id, address) => await takeIn('follow', id, address),
    fill: async (id, address) => await takeIn('fill', id, address),
  }
}

const shown = ({ id, size_bytes, exported }: SimVolume): Volume => ({ id, size_bytes, exported })

const imageContent = (source: VolumeSpec['source']): string =>
  source === null ? '' : source.type === 'url' ? source.url : source.type

function load(file: string | null): Map<string, SimVolume> {
  if (file === null || !existsSync(file)) return new Map()
  const read: unknown = JSON.parse(readFileSync(file, 'utf8'))
  const volumes = fits(saved, read) ? read : []
  return new Map(volumes.map((volume) => [volume.id, { content: '', ...volume }]))
}
