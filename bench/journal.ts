/**
 * Durable rows a second: writers that each wait for their append before the next, against the same
 * documents encoded and appended to a plain file, with one write and one fdatasync a batch.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { limits } from '#config/limits.ts'
import { Journal } from '#runtime/journal.ts'
import type { Harness } from './harness.ts'

const rounds = 7
const commits = 150
const document = (writer: number, at: number) => ({
  id: `3f2c1e0a-7b6d-4c5e-9f80-${String(writer).padStart(12, '0')}`,
  at,
  text: 'x'.repeat(120),
})

export async function run(harness: Harness): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'luge-bench-journal-'))
  const file = () => join(directory, `${(files += 1)}`)
  let files = 0
  try {
    for (const writers of [1, 100, 1_000]) {
      const raw = () => appendRaw(file(), writers)
      const write = async (journal: Journal, writer: number, at: number) => {
        await journal.append('log', String(writer), [document(writer, at)])
      }
      const put = async (journal: Journal, writer: number, at: number) => {
        await journal.put({ kind: 'map', id: String(writer), document: document(writer, at) })
      }
      const name = writers === 1 ? '1 writer' : `${writers} writers`
      await harness.compare(`journal append, FULL, ${name}`, {
        unit: 'rows/s',
        rounds,
        candidates: { luge: async () => await measure(file(), writers, write), 'raw append': raw },
      })
      await harness.compare(`journal put, FULL, ${name}`, {
        unit: 'rows/s',
        rounds,
        candidates: { luge: async () => await measure(file(), writers, put), 'raw append': raw },
      })
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function measure(
  path: string,
  writers: number,
  write: (journal: Journal, writer: number, at: number) => Promise<void>,
): Promise<number> {
  const journal = new Journal(path)
  const began = performance.now()
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let at = 0; at < commits; at += 1) await write(journal, writer, at)
    }),
  )
  const seconds = (performance.now() - began) / 1000
  journal.close()
  return (writers * commits) / seconds
}

/** What a tick's rows would be without a journal: the same batches in one file. */
function appendRaw(path: string, writers: number): number {
  const fd = openSync(path, 'w')
  const began = performance.now()
  for (let at = 0; at < commits; at += 1) {
    for (let from = 0; from < writers; from += limits.journal_commit_lines_max) {
      const count = Math.min(limits.journal_commit_lines_max, writers - from)
      const lines = Array.from({ length: count }, (_, writer) =>
        JSON.stringify(document(from + writer, at)),
      )
      writeSync(fd, `${lines.join('\n')}\n`)
      fdatasyncSync(fd)
    }
  }
  const seconds = (performance.now() - began) / 1000
  closeSync(fd)
  return (writers * commits) / seconds
}
