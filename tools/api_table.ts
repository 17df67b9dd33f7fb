/**
 * The table of operations in docs/API.md, from the contract. `node tools/api_table.ts` writes it there;
 * test/unit/nexus/api-document.test.ts sees that this was done.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { tags } from '#actors/nexus/api/contract/about.ts'
import { routes } from '#actors/nexus/routes.ts'

export const documentFile = new URL('../docs/API.md', import.meta.url)
const marks = ['<!-- operations -->', '<!-- end of operations -->'] as const

/** A document with its table replaced by the present one. Throws when it has no place for it. */
export function withTable(document: string): string {
  const [before, rest] = document.split(marks[0])
  const after = rest?.split(marks[1])[1]
  if (before === undefined || after === undefined) {
    throw new Error(`docs/API.md needs the lines ${marks.join(' and ')}`)
  }
  return [before, marks[0], '\n\n', sections(), '\n', marks[1], after].join('')
}

function sections(): string {
  return Object.entries(tags)
    .flatMap(([tag, meaning]) => {
      const rows = routes
        .filter(({ operation }) => operation.tag === tag)
        .map(({ id, operation }) => [
          `\`${operation.method} ${operation.path}\``,
          operation.summary.replaceAll('|', '\\|'),
          `${operation.status}${operation.page === null ? '' : ', paged'}`,
          operation.access === 'anyone' ? 'anyone' : '',
          `\`${id}\``,
        ])
        .toSorted(([a = ''], [b = '']) => orderOf(a).localeCompare(orderOf(b)))
      const table = [['operation', 'does', 'success', 'for', 'operationId'], ...rows]
      return rows.length === 0 ? [] : [`### ${tag}\n\n${meaning}\n\n${aligned(table)}\n`]
    })
    .join('\n')
}

/** By path, then by method. */
function orderOf(cell: string): string {
  const [method = '', path = ''] = cell.replaceAll('`', '').split(' ')
  return `${path} ${method}`
}

function aligned(rows: ReadonlyArray<readonly string[]>): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  )
  const line = (cells: readonly string[], fill = ' ') =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width, fill)).join(' | ')} |`
  const [head = [], ...body] = rows
  return [line(head), line([], '-'), ...body.map((row) => line(row))].join('\n')
}

if (import.meta.main) writeFileSync(documentFile, withTable(readFileSync(documentFile, 'utf8')))
