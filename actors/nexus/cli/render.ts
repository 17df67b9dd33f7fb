/** Values as text for people and programs: psql tables, JSON with sorted keys, YAML. */
import { isFields, type Fields } from './value.ts'

export const formats = ['table', 'json', 'yaml'] as const
export type Format = (typeof formats)[number]

/** Terminal colours; `plain` adds nothing. */
export interface Paint {
  readonly green: (text: string) => string
  readonly red: (text: string) => string
  readonly yellow: (text: string) => string
  readonly cyan: (text: string) => string
  readonly bold: (text: string) => string
}
const code = (number: number) => (text: string) => `\u001b[${number}m${text}\u001b[0m`
const same = (text: string): string => text
export const colours: Paint = {
  green: code(32),
  red: code(31),
  yellow: code(33),
  cyan: code(36),
  bold: code(1),
}
export const plain: Paint = { green: same, red: same, yellow: same, cyan: same, bold: same }

/** The same value with the keys of every object in alphabetical order. */
export function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (!isFields(value)) return value
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((key) => [key, sortKeys(value[key])]),
  )
}

/** JSON on lines of its own: two spaces a level, keys sorted, no newline at the end. */
export function toJson(value: unknown, paint: Paint): string {
  return jsonLines(sortKeys(value), paint, '')
}

function jsonLines(value: unknown, paint: Paint, indent: string): string {
  const inner = `${indent}  `
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]'
    const items = value.map((item) => inner + jsonLines(item, paint, inner))
    return `[\n${items.join(',\n')}\n${indent}]`
  }
  if (isFields(value)) {
    const entries = Object.entries(value)
    if (entries.length === 0) return '{}'
    const lines = entries.map(
      ([key, field]) =>
        `${inner}${paint.bold(JSON.stringify(key))}: ${jsonLines(field, paint, inner)}`,
    )
    return `{\n${lines.join(',\n')}\n${indent}}`
  }
  if (typeof value === 'string') return paint.green(JSON.stringify(value))
  if (typeof value === 'number') return paint.cyan(JSON.stringify(value))
  return paint.yellow(JSON.stringify(value ?? null))
}

/** YAML in block style, keys sorted, ending in a newline. */
export function toYaml(value: unknown): string {
  return `---\n${yamlLines(sortKeys(value), '').join('\n')}\n`
}

function yamlLines(value: unknown, indent: string): string[] {
  const lines: string[] = []
  const inner = `${indent}  `
  if (Array.isArray(value) && value.length > 0) {
    for (const item of value) {
      const [first = '', ...rest] = yamlLines(item, inner)
      lines.push(`${indent}- ${first.trimStart()}`, ...rest)
    }
  } else if (isFields(value) && isBranch(value)) {
    for (const [key, field] of Object.entries(value)) {
      if (isBranch(field)) lines.push(`${indent}${yamlText(key)}:`, ...yamlLines(field, inner))
      else lines.push(`${indent}${yamlText(key)}: ${yamlLeaf(field)}`)
    }
  } else {
    lines.push(indent + yamlLeaf(value))
  }
  return lines
}

function isBranch(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  return isFields(value) && Object.keys(value).length > 0
}

function yamlLeaf(value: unknown): string {
  if (typeof value === 'string') return yamlText(value)
  // What is left is null, true, a number or an empty collection: all the same in JSON.
  return JSON.stringify(value ?? null)
}

/** Plain where no reader can take it for anything but text; else quoted, which JSON does right. */
function yamlText(text: string): string {
  const isPlain = /^[A-Za-z_/][A-Za-z0-9_/.@-]*( [A-Za-z0-9_/.@-]+)*$/.test(text)
  const isWord = /^(null|true|false|yes|no|on|off|y|n)$/i.test(text)
  return isPlain && !isWord ? text : JSON.stringify(text)
}

/** Many records as a psql table: one line each, `columns` from left to right. */
export function toTable(columns: readonly string[], rows: readonly Fields[]): string {
  const cells = rows.map((row) => columns.map((column) => toCell(row[column])))
  const widths = columns.map((column, at) =>
    Math.max(width(column), ...cells.map((line) => width(line[at] ?? ''))),
  )
  return [line(columns, widths), rule(widths), ...cells.map((row) => line(row, widths))].join('\n')
}

/** One record as a psql table turned on its side: a line for each field, `columns` first. */
export function toRotatedTable(columns: readonly string[], row: Fields): string {
  const others = Object.keys(row)
    .filter((key) => !columns.includes(key))
    .toSorted()
  const names = [...columns.filter((column) => column in row), ...others]
  const cells = names.map((name) => [name, toCell(row[name])])
  const widths = [0, 1].map((at) => Math.max(0, ...cells.map((pair) => width(pair[at] ?? ''))))
  return cells.map((pair) => line(pair, widths)).join('\n')
}

const line = (cells: readonly string[], widths: readonly number[]): string =>
  cells
    .map((cell, at) => ` ${cell}${' '.repeat((widths[at] ?? 0) - width(cell))} `)
    .join('|')
    .trimEnd()
const rule = (widths: readonly number[]): string => widths.map((w) => '-'.repeat(w + 2)).join('+')
const width = (text: string): number => Array.from(text).length

/** A value in one line. A tagged state reads `attached (instance 6c0…)`. */
function toCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return oneLine(value)
  if (isFields(value) && typeof value['state'] === 'string') {
    const rest = Object.entries(value).filter(([key]) => key !== 'state')
    const notes = rest.map(([key, field]) => `${key} ${toCell(field)}`).join(', ')
    return notes === '' ? oneLine(value['state']) : `${oneLine(value['state'])} (${notes})`
  }
  return oneLine(JSON.stringify(value))
}

/** Control characters made visible: nobody's description may move the reader's cursor. */
export function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => {
    if (character === '\n') return String.raw`\n`
    const digits = character.charCodeAt(0).toString(16).padStart(4, '0')
    return String.raw`\u${digits}`
  })
}
