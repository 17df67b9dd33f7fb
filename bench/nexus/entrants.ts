/** Servers of the API and of its peers, each with the same client, as entrants. */
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import type { Contestant, Entrant } from '../contestant.ts'
import { assemble, nodeEntrant, nodeProgram } from '../peers/program.ts'
import { diskName, fill, instanceName, project, sqliteStore } from './data.ts'

export type Kind = 'luge' | 'fastify'
export interface Load {
  readonly paths: readonly string[]
  readonly connections: number
}

/** How many different things are asked for in turn. */
const various = 16

export const instancePage: readonly string[] = [`${project}/instances`]
export const instanceViews: readonly string[] = Array.from(
  { length: various },
  (_, index) => `${project}/instances/${instanceName(index * 50)}`,
)
/** Pages of a hundred disks, all over the list. */
export const diskPages = (disks: number): readonly string[] =>
  Array.from({ length: various }, (_, index) => {
    const behind = Math.floor(((disks - 100) * (index + 1)) / various) - 1
    if (behind < 0) return `${project}/disks`
    const page_start = { sort_by: 'name_ascending', last_seen: { name: diskName(behind) } }
    const token = Buffer.from(JSON.stringify({ v: 'v1', page_start })).toString('base64url')
    return `${project}/disks?page_token=${token}`
  })

/** A server on a SQLite file with so many disks. Only the server's CPU time counts. */
export const onSqlite = (name: string, kind: Kind, load: Load, disks = 0): Entrant => ({
  name,
  obstacle: () => null,
  open: async () => await serve([kind, await sqliteStore(disks)], load, 1),
})

/** So many servers on one PostgreSQL. Only the servers' CPU time counts, not the database's. */
export const onPostgres = (name: string, members: number, load: Load): Entrant => ({
  name,
  obstacle: () => null,
  open: async () => {
    const postgres = await startPostgres()
    try {
      const url = await filledDatabase(postgres)
      const contestant = await serve(['luge', url], load, members)
      const close = async () => {
        await contestant.close()
        await postgres.stop()
      }
      return { run: contestant.run, close }
    } catch (error) {
      await postgres.stop()
      throw error
    }
  },
})

const filledDatabase = async (postgres: Postgres) => await fill(await postgres.newDatabase(), 0)

async function serve(
  words: readonly string[],
  { paths, connections }: Load,
  members: number,
): Promise<Contestant> {
  return await assemble(async (started) => {
    const targets: string[] = []
    for (let member = 0; member < members; member += 1) {
      targets.push(await started(nodeProgram('nexus/server.ts', ...words)).ready())
    }
    const given = [String(connections), paths.join(' '), targets.join(' ')]
    const client = started(nodeProgram('nexus/client.ts', ...given), 'tool')
    await client.ready()
    return client
  })
}

/** Instances from nothing to running, on a rack of its own. */
export const creation = (clients: number): Entrant =>
  nodeEntrant('luge', 'nexus/creator.ts', String(clients))
