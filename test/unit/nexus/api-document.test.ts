/** docs/API.md says of every operation what the contract says. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { routes } from '#actors/nexus/routes.ts'
import { documentFile, withTable } from '#tools/api_table.ts'

test('docs/API.md lists every operation as the contract has it', () => {
  const document = readFileSync(documentFile, 'utf8')
  assert.equal(document, withTable(document), 'run node tools/api_table.ts')
  for (const { id } of routes) assert.ok(document.includes(`\`${id}\``), id)
})
