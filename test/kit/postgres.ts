/**
 * A PostgreSQL server of a test file's own: in a temporary directory, on a unix socket only, as an
 * unprivileged user also when the tests run as root.
 *
 *     const postgres = await startPostgres()
 *     after(postgres.stop)
 *     const url = await postgres.newDatabase() // for `pg`, kysely and psql
 *
 * However the test ends, by `stop`, by a failure or by kill -9, nothing stays: a shell holds one end
 * of a pipe and the test the other; when it closes, the shell stops the server and removes the rest.
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

export interface Postgres {
  /** The directory of the socket: what `pg` calls `host` and psql `-h`. */
  readonly host: string
  /** The superuser, who needs no password. */
  readonly user: string
  /**
   * Makes a database, empty or a copy of another one that nobody uses; gives its URL, which `pg` and psql
   * both understand.
   */
  readonly newDatabase: (like?: string) => Promise<string>
  /** What psql prints for this SQL: rows only, columns separated by `|`. Rejects when the SQL fails. */
  readonly psql: (url: string, sql: string) => Promise<string>
  /** Kills the server with -9, and with it every connection. What was committed stays. */
  readonly kill: () => Promise<void>
  /** Starts it after `kill`; ends when it takes connections. */
  readonly start: () => Promise<void>
  /** Stops the server and removes its directory. May be called twice. */
  readonly stop: () => Promise<void>
}

const run = promisify(execFile)
const user = 'luge'
const ready_ms_max = 60_000
/** What the kernel takes as a socket's path, less the name that PostgreSQL gives its socket. */
const directory_bytes_max = 107 - '/.s.PGSQL.5432'.length

/** Durability against a power cut is left out: tests kill processes, and the kernel keeps their writes. */
const settings = (directory: string): string => `
listen_addresses = ''
unix_socket_directories = '${directory}'
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
shared_buffers = '16MB'
max_connections = 100
timezone = 'UTC'
`

/** $1 is the directory. Standard input ends when the test has stopped the server, or is dead. */
const cleaner = `
cat >/dev/null
read -r pid <"$1/data/postmaster.pid" && grep -qs "$1/data" "/proc/$pid/cmdline" && kill -INT "$pid"
tries=0
while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$1"
`

const versionOf = (path: string): number => Number(/postgresql\/(\d+)/.exec(path)?.[1] ?? 0)

/** The directory of `initdb`, `postgres` and `psql`: the newest of Debian's, else one of PATH. */
function findBinaries(): string {
  const debian = fs.globSync('/usr/lib/postgresql/*/bin')
  const places = [
    ...debian.toSorted((a, b) => versionOf(b) - versionOf(a)),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ]
  const found = places.find((place) =>
    ['initdb', 'postgres', 'pg_isready', 'psql'].every((name) => fs.existsSync(join(place, name))),
  )
  assert.ok(found, 'PostgreSQL was not found: install it with tools/install_prerequisites.sh')
  return found
}

interface Account {
  readonly uid: number
  readonly gid: number
}

/** Who runs the server. PostgreSQL refuses root, so root becomes Debian's `postgres`, else `nobody`. */
function unprivileged(): Account | null {
  if (process.getuid?.() !== 0) return null
  const lines = fs.readFileSync('/etc/passwd', 'utf8').split('\n')
  const accounts = lines.map((line) => line.split(':'))
  const account = ['postgres', 'nobody']
    .map((name) => accounts.find((fields) => fields[0] === name))
    .find((fields) => fields !== undefined)
  assert.ok(account, 'PostgreSQL refuses to run as root, and there is no user postgres or nobody')
  return { uid: Number(account[2]), gid: Number(account[3]) }
}

interface Place {
  readonly directory: string
  readonly binaries: string
  readonly account: Account | null
}

async function initialize({ directory, binaries, account }: Place): Promise<void> {
  if (account !== null) fs.chownSync(directory, account.uid, account.gid)
  const data = join(directory, 'data')
  const options = ['-D', data, '-U', user, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  await run(join(binaries, 'initdb'), options, { cwd: directory, ...account })
  fs.appendFileSync(join(data, 'postgresql.conf'), settings(directory))
}

/** Whether a process works in that directory. */
const isUsed = (directory: string): boolean =>
  fs.globSync('/proc/[0-9]*/cwd').some((link) => {
    try {
      return fs.readlinkSync(link) === directory
    } catch {
      return false
    }
  })

interface Running {
  /** Sends a signal and waits for the end. */
  readonly end: (signal: 'SIGINT' | 'SIGKILL') => Promise<void>
}

/** One attempt: the running server once it takes connections, or null when it ended before. */
async function launch({ directory, binaries, account }: Place): Promise<Running | null> {
  const log = fs.openSync(join(directory, 'log'), 'a')
  const child = spawn(join(binaries, 'postgres'), ['-D', join(directory, 'data')], {
    cwd: directory,
    detached: true,
    stdio: ['ignore', log, log],
    ...account,
  })
  fs.closeSync(log)
  const ended = once(child, 'exit')
  const end: Running['end'] = async (signal) => {
    child.kill(signal)
    await ended
    // Connections have processes of their own, which see its death a moment later.
    while (isUsed(join(directory, 'data'))) await pause(5)
  }
  for (let waited_ms = 0; waited_ms < ready_ms_max; waited_ms += 50) {
    if (child.exitCode !== null || child.signalCode !== null) return null
    const isReady = await run(join(binaries, 'pg_isready'), ['-q', '-h', directory]).then(
      () => true,
      () => false,
    )
    if (isReady) return { end }
    await pause(50)
  }
  await end('SIGKILL')
  return null
}

/** Starts the server; again when it ends at once, for what a killed one left may take a moment to go. */
async function launchPatiently(place: Place): Promise<Running> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const running = await launch(place)
    if (running !== null) return running
    await pause(100)
  }
  const log = fs.readFileSync(join(place.directory, 'log'), 'utf8')
  throw new Error(`PostgreSQL does not start; it says:\n${log.slice(-2_000)}`)
}

/** Makes a server and starts it; ends when it takes connections. Fails with the server's own words. */
export async function startPostgres(): Promise<Postgres> {
  const binaries = findBinaries()
  const directory = fs.mkdtempSync(join(tmpdir(), 'luge-postgres-'))
  const guard = spawn('sh', ['-c', cleaner, 'sh', directory], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const guardEnded = once(guard, 'exit')
  const clean = async () => {
    guard.stdin.end()
    await guardEnded
  }
  try {
    assert.ok(Buffer.byteLength(directory) <= directory_bytes_max, `${directory} is too long`)
    const place = { directory, binaries, account: unprivileged() }
    await initialize(place)
    return await serve(place, clean)
  } catch (error) {
    await clean()
    throw error
  }
}

async function serve(place: Place, clean: () => Promise<void>): Promise<Postgres> {
  const { directory, binaries } = place
  const urlOf = (name: string) => `postgresql://${user}@${encodeURIComponent(directory)}/${name}`
  const psql: Postgres['psql'] = async (url, sql) => {
    const args = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', url, '-c', sql]
    const { stdout } = await run(join(binaries, 'psql'), args)
    return stdout.trimEnd()
  }
  let running: Running | null = await launchPatiently(place)
  let databases = 0
  return {
    host: directory,
    user,
    psql,
    newDatabase: async (like = urlOf('template1')) => {
      databases += 1
      const name = `luge_${databases}`
      const template = new URL(like).pathname.slice(1)
      await psql(urlOf('postgres'), `CREATE DATABASE ${name} TEMPLATE ${template}`)
      return urlOf(name)
    },
    kill: async () => {
      await running?.end('SIGKILL')
      running = null
    },
    start: async () => {
      running ??= await launchPatiently(place)
    },
    stop: async () => {
      await running?.end('SIGINT')
      running = null
      await clean()
    },
  }
}
