/** Volumes in memory, or named in one JSON file so that they outlive the process; scripted faults. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Type } from 'typebox'
import { probeImage } from '#native/image.ts'
import type { Block, Volume } from '#native/platform/block.ts'
import { err, ok } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'

const saved = Type.Array(
  Type.Object({ id: Type.String(), size_bytes: Type.Integer(), exported: Type.Boolean() }),
)

export interface SimBlock extends Block {
  /** Names of methods that fail with `os_failed` while they are in here. */
  readonly faults: Set<string>
}

/** `file`: where the volumes' names are kept; null keeps them in memory only. */
export function simBlock(file: string | null = null): SimBlock {
  const volumes = new Map<string, Volume>()
  if (file !== null && existsSync(file)) {
    const read: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (fits(saved, read)) for (const volume of read) volumes.set(volume.id, volume)
  }
  const faults = new Set<string>()
  const set = (volume: Volume) => {
    volumes.set(volume.id, volume)
    save()
    return volume
  }
  const save = () => {
    if (file !== null) writeFileSync(file, JSON.stringify([...volumes.values()]))
  }
  const guarded = (name: string) =>
    faults.has(name) ? err('os_failed', `${name} fails as scripted`) : null
  return {
    faults,
    find: async (id) => guarded('find') ?? ok(volumes.get(id) ?? null),
    list: async () => guarded('list') ?? ok([...volumes.values()]),
    create: async (spec) =>
      guarded('create') ?? ok(set({ id: spec.id, size_bytes: spec.size_bytes, exported: false })),
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
      if (fault !== null) return fault
      if (volume !== undefined) set({ ...volume, exported: false })
      return ok(null)
    },
    destroy: async (id) => {
      const fault = guarded('destroy')
      if (fault !== null) return fault
      volumes.delete(id)
      save()
      return ok(null)
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
