/**
 * The rules of the house that no compiler and no linter checks, each as a table and a test. Errors
 * read `file:line: what`, like a compiler's. docs/STYLE.md says why the rules are there.
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { limits } from '#config/limits.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const notOurs = ['node_modules/**', 'out/**']

/** What a file may import, by the first row that its path matches. Its own folder is always open. */
const may: readonly (readonly [from: RegExp, to: RegExp])[] = [
  [/^(test|bench|tools)\//, /./],
  [/^runtime\/bin\//, /./],
  [/^runtime\/result\.ts$/, /^node:util$/],
  [/^runtime\/cluster\//, /^#runtime\/|^#config\/|^node:|^(kysely|pg)$/],
  [
    /^runtime\//,
    /^#runtime\/|^#config\/|^node:|^(typebox(\/.*)?|msgpackr|comlink(\/.*)?|better-sqlite3|pino|dns-packet|reflect-metadata|@peculiar\/x509)$/,
  ],
  // The command is a client of the HTTP API: it knows nothing of the rest of Nexus.
  [/^actors\/nexus\/cli\//, /^#runtime\/|^#config\/|^(undici|ws|commander|smol-toml)$/],
  [
    /\.state\.ts$/,
    /^#runtime\/result\.ts$|^#native\/platform\/|^#config\/|^#actors\/.*\.protocol\.ts$/,
  ],
  [
    /^actors\/nexus\//,
    /^#(runtime|actors|config)\/|^#native\/platform\/|^node:(assert(\/strict)?|crypto|util|buffer|path|tls|url)$|^(fastify|@fastify\/.*|@node-saml\/node-saml|@xmldom\/xmldom|kysely|better-sqlite3|pg|smol-toml|undici|ws|typebox(\/.*)?|ipaddr\.js|dns-packet)$/,
  ],
  [
    /^actors\/http\//,
    /^#(runtime|config)\/|^node:(assert\/strict|http)$|^(fastify|@fastify\/websocket|ws|typebox(\/.*)?|ipaddr\.js)$/,
  ],
  [
    /^actors\//,
    /^#(runtime|actors|config)\/|^#native\/platform\/|^node:(assert(\/strict)?|crypto|util|buffer|path)$|^(typebox(\/.*)?|ipaddr\.js|dns-packet)$/,
  ],
  [/^native\/.*\.sys\.ts$/, /^koffi$|^#native\/|^#runtime\/(result|thread\/bell)\.ts$|^node:/],
  [/^native\/platform\//, /^#runtime\/|^#actors\/.*\.protocol\.ts$/],
  [
    /^native\//,
    /^#(native|runtime|config)\/|^#actors\/.*\.protocol\.ts$|^node:|^(undici|ipaddr\.js|piscina|typebox(\/.*)?)$/,
  ],
  [/^config\//, /^#runtime\/result\.ts$|^node:assert(\/strict)?$|^(typebox(\/.*)?|smol-toml)$/],
]

/** Whatever the table says: nothing imports an entry point, and an actor sees others' messages only. */
const never: readonly (readonly [from: RegExp, to: RegExp, why: string])[] = [
  [
    /^(?!test\/)/,
    /^runtime\/bin\/(luge|oxide|sled|nexus|thread)\.ts$/,
    'an entry point is started, not imported',
  ],
  [/^(?!test\/|runtime\/bin\/)/, /^runtime\/bin\//, 'only entry points join actors to a platform'],
  [/^(?!test\/|bench\/)/, /^(test|bench)\//, 'the product does without its tests and measurements'],
]

const specifier =
  /^(?:import|export)\b[^'"\n]*\bfrom '([^']+)'|^\} from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm

interface Import {
  readonly file: string
  readonly line: number
  /** As it is written. */
  readonly target: string
  /** The file it means; null when it is a package. */
  readonly path: string | null
}

const files = globSync('**/*.ts', { cwd: root, exclude: [...notOurs, '**/*.d.ts'] }).toSorted()
const text = (file: string): string => readFileSync(join(root, file), 'utf8')
const isExecutable = (file: string): boolean => (statSync(join(root, file)).mode & 0o111) !== 0
const lineOf = (whole: string, index: number): number => whole.slice(0, index).split('\n').length

function pathOf(file: string, target: string): string | null {
  if (target.startsWith('#')) return target.slice(1)
  return target.startsWith('.') ? normalize(join(dirname(file), target)) : null
}

function importsOf(file: string): readonly Import[] {
  const whole = text(file)
  return [...whole.matchAll(specifier)].map((match) => {
    const target = match.slice(1).find((part) => part !== undefined) ?? ''
    return { file, line: lineOf(whole, match.index), target, path: pathOf(file, target) }
  })
}

const imports = files.flatMap(importsOf)
const top = (path: string): string => path.split('/')[0] ?? ''

test('there is something to check', () => {
  assert.ok(files.length > 0, 'the glob found nothing: an empty pass is a failure')
  assert.ok(imports.length > files.length, 'the pattern for imports finds next to nothing')
})

test('every file is covered by a rule of what it may import', () => {
  assert.deepEqual(
    files.filter((file) => !may.some(([from]) => from.test(file))),
    [],
  )
})

test('imports go one way', () => {
  const errors = imports.flatMap(({ file, line, target, path }) => {
    const rule = may.find(([from]) => from.test(file))
    const isOwn = target.startsWith('.')
    const isAllowed = isOwn || rule === undefined || rule[1].test(target)
    const ban = never.find(([from, to]) => from.test(file) && path !== null && to.test(path))
    return [
      ...(isAllowed ? [] : [`${file}:${line}: may not import ${target}`]),
      ...(ban === undefined ? [] : [`${file}:${line}: may not import ${target}: ${ban[2]}`]),
    ]
  })
  assert.deepEqual(errors, [])
})

test('imports that leave a top folder are spelled from the root', () => {
  const errors = imports
    .filter(({ target }) => target.startsWith('.'))
    .filter(({ file, target, path }) => target.includes('../..') || top(path ?? '') !== top(file))
    .map(({ file, line, target }) => `${file}:${line}: write ${target} with #`)
  assert.deepEqual(errors, [])
})

/** Of `actors/disk.state.ts` the actor is `disk`; folders below actors/ are no actors. */
const actorOf = (path: string): string | null =>
  /^actors\/([a-z_-]+)\.[a-z.]*ts$/.exec(path)?.[1] ?? null

test('an actor imports of another actor its protocol only', () => {
  // `sled.ts` is the tree, `schema.ts` the words that all protocols share, `fence.ts` what whoever is
  // asked by sagas does first, `memory.ts` how an actor remembers.
  const errors = imports.filter(({ file, path }) => {
    const [own, other] = [actorOf(file), path === null ? null : actorOf(path)]
    if (own === null || other === null || own === other) return false
    return (
      own !== 'sled' &&
      !['schema', 'fence', 'memory'].includes(other) &&
      path?.endsWith('.protocol.ts') !== true
    )
  })
  assert.deepEqual(
    errors.map(({ file, line, target }) => `${file}:${line}: ${target} is another actor's own`),
    [],
  )
})

test('koffi is imported by .sys.ts files of native/ only', () => {
  const errors = imports
    .filter(({ target }) => target === 'koffi')
    .filter(({ file }) => !/^native\/.*\.sys\.ts$|^(test|bench)\//.test(file))
    .map(({ file, line }) => `${file}:${line}: only native/**/*.sys.ts may import koffi`)
  assert.deepEqual(errors, [])
})

/** What nobody imports and yet is used: it is started, run, or implemented by others. */
const isRoot = (file: string): boolean =>
  /^(runtime\/bin|bench|test|tools|native\/platform)\//.test(file) ||
  /^config\/[^/]+\.ts$/.test(file)

test('no file is unused', () => {
  const known = new Set(files)
  const reached = new Set(files.filter(isRoot))
  for (const file of reached) {
    // Not only imports: a thread's file is named by a URL.
    const named = [...text(file).matchAll(/['"`]([^'"`\s]+\.ts)['"`]/g)]
    for (const [, target = ''] of named) {
      const path = pathOf(file, target) ?? normalize(join(dirname(file), target))
      // A set that grows while it is walked: what is reached is walked in its turn.
      if (known.has(path)) reached.add(path)
    }
  }
  // The contracts test reads every protocol there is.
  const unused = files.filter((file) => !reached.has(file) && !file.endsWith('.protocol.ts'))
  assert.deepEqual(unused, [], 'nothing imports these')
})

test('every test file is one that a script runs', () => {
  const stray = files
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => !/^test\/(unit|tidy|sim|host)\//.test(file))
  assert.deepEqual(stray, [])
})

test('no test is left out or runs alone', () => {
  assert.deepEqual(
    found(/\b(?:test|it|describe|suite)\.(?:skip|todo|only)\b|\bskip: true\b/g, /^test\//),
    [],
  )
})

test('folders are at most four deep', () => {
  assert.deepEqual(
    files.filter((file) => file.split('/').length > 5),
    [],
  )
})

test('every top folder says what it is for', () => {
  const folders = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !/^(\.|node_modules$|out$|docs$)/.test(entry.name))
    .map(({ name }) => name)
  assert.ok(folders.length > 0)
  const missing = folders.filter((name) => !existsSync(join(root, name, 'README.md')))
  assert.deepEqual(missing, [])
  const long = folders.filter((name) => text(`${name}/README.md`).split('\n').length > 50)
  assert.deepEqual(long, [], 'a README of a folder is one screen')
})

test('a bound has its unit in its name', () => {
  const unit = /_(ms|bytes|max)(_(max|min|default))?$/
  assert.deepEqual(
    Object.keys(limits).filter((name) => !unit.test(name)),
    [],
  )
})

/** Words and forms that have something better, with what that is. */
const banned: readonly (readonly [pattern: RegExp, instead: string, where: RegExp])[] = [
  [/\b(?:FIXME|XXX|TODO|HACK)\b/g, 'do it, or open an issue', /./],
  [/\butili[sz]e/gi, 'write "use"', /./],
  [/\bleverag(?:e|es|ing)\b/gi, 'write "use"', /./],
  [/\bin order to\b/gi, 'write "to"', /./],
  [/\b(?:simply|obviously|basically)\b/gi, 'leave it out', /./],
  [/\b(?:seamless|robust|powerful|cutting-edge)(?:ly)?\b/gi, 'say what it does', /./],
  [/@ts-(?:ignore|nocheck)/g, 'make the types right', /./],
  [/@ts-expect-error/g, 'only type tests expect errors', /^(?!test\/types\/)/],
  [/\b(?:ox|es)lint-disable/g, 'make the code right, or the rule in .oxlintrc.json', /./],
  [
    /new Error\([^)\n]*\.message\}/g,
    'give the lower error as { cause } (explain() prints it)',
    /./,
  ],
  [/\bexecSync\(|\bexec\(`/g, 'pass an argument vector, never a shell line', /^(?!test\/)/],
]

function found(pattern: RegExp, where: RegExp): readonly string[] {
  return files
    .filter((file) => where.test(file) && file !== 'test/tidy/tidy.test.ts')
    .flatMap((file) => {
      const whole = text(file)
      return [...whole.matchAll(pattern)].map(
        (match) => `${file}:${lineOf(whole, match.index)}: ${match[0]}`,
      )
    })
}

test('what is banned is replaced', () => {
  const errors = banned.flatMap(([pattern, instead, where]) =>
    found(pattern, where).map((error) => `${error}: ${instead}`),
  )
  assert.deepEqual(errors, [])
})

test('launchers, scripts and the program of CI can be started', () => {
  const scripts = [
    'tools/oxide',
    'tools/luge',
    'tools/test.sh',
    'tools/install_prerequisites.sh',
    'tools/create_self_signed_cert.sh',
    '.ci/run',
  ]
  assert.deepEqual(
    scripts.filter((script) => !text(script).startsWith('#!/') || !isExecutable(script)),
    [],
  )
})
