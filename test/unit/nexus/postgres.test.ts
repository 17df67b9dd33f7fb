/** All tests of Nexus in this folder once more, with their stores in PostgreSQL. */
import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { usePostgres } from './stores.ts'

usePostgres()
const files = globSync('*.test.ts', { cwd: fileURLToPath(new URL('.', import.meta.url)) })
for (const file of files.toSorted()) {
  if (file !== 'postgres.test.ts') await import(`./${file}`)
}
