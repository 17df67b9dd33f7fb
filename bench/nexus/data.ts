/** The stores that Nexus and its peers are measured on: the same file, or database, for both. */
import { join } from 'node:path'
import { sql } from 'kysely'
import { hashToken } from '#actors/nexus/access/authn.ts'
import { builtIn } from '#actors/nexus/store/built-in.ts'
import { openStore } from '#actors/nexus/store/open.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { wellKnown } from '#config/addressing.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { temporaryDirectory } from '../rows.ts'

export const token = 'a'.repeat(40)
export const project = '/organizations/bench/projects/bench'
export const project_id = '22222222-2222-4222-8222-222222222222'
const organization_id = '11111111-1111-4111-8111-111111111111'
const sled_id = '44444444-4444-4444-8444-444444444444'
const now_ms = 1_700_000_000_000
const moment = { time_created_ms: now_ms, time_modified_ms: now_ms, time_deleted_ms: null }
/** How many instances every store has. */
const instances = 1_000
/** How many rows one statement inserts. */
const batch = 500

export const instanceName = (index: number): string => `i${String(index).padStart(7, '0')}`
export const diskName = (index: number): string => `d${String(index).padStart(7, '0')}`

let directory: string | null = null
const files = new Map<number, Promise<string>>()

/** The URL of a SQLite file with so many disks in the project; each is made once. */
export async function sqliteStore(disks: number): Promise<string> {
  directory ??= temporaryDirectory()
  const url = `sqlite:${join(directory, `${disks}.db`)}`
  const made = files.get(disks) ?? fill(url, disks)
  files.set(disks, made)
  return await made
}

/** Puts an organization, a project, its instances and disks into an empty store; gives back its URL. */
export async function fill(url: string, disks: number): Promise<string> {
  const { store, ready } = openStore({ url, clock: systemClock, log: memoryLog() })
  await ready
  await plantParents(store)
  for (let from = 0; from < instances; from += batch) {
    const rows = Array.from({ length: Math.min(batch, instances - from) }, (_, at) =>
      instanceRow(from + at),
    )
    await store.insertInto('instance').values(rows).execute()
  }
  if (disks > 0) await addDisks(store, disks)
  await store.destroy()
  return url
}

async function plantParents(store: Store): Promise<void> {
  const named = { name: 'bench', description: 'bench', ...moment }
  await store
    .insertInto('organization')
    .values({ id: organization_id, silo_id: builtIn.default_silo, ...named })
    .execute()
  await store
    .insertInto('project')
    .values({ id: project_id, organization_id, ...named })
    .execute()
  await store
    .insertInto('device_access_token')
    .values({
      client_id: '77777777-7777-4777-8777-777777777777',
      token_hash: hashToken(token),
      silo_user_id: wellKnown.user_privileged,
      time_created_ms: now_ms,
    })
    .execute()
}

const instanceRow = (index: number) => ({
  id: `33333333-3333-4333-8333-${String(index).padStart(12, '0')}`,
  name: instanceName(index),
  description: 'an instance',
  ...moment,
  project_id,
  sled_id,
  propolis_id: `55555555-5555-4555-8555-${String(index).padStart(12, '0')}`,
  ncpus: 2,
  memory_bytes: 1_073_741_824,
  hostname: instanceName(index),
  user_data: '',
  public_keys: '[]',
  run_state: 'running' as const,
  time_run_state_updated_ms: now_ms,
  gen: 3,
  pending_target: null,
})

/** By one statement of SQLite's: a million of them one by one would take longer than measuring. */
async function addDisks(store: Store, disks: number): Promise<void> {
  await sql`insert into disk (id, name, description, time_created_ms, time_modified_ms, project_id,
      sled_id, size_bytes, block_size, state)
    with recursive n (i) as (select 0 union all select i + 1 from n where i + 1 < ${disks})
    select printf('88888888-8888-4888-8888-%012d', i), printf('d%07d', i), 'a disk', ${now_ms}, ${now_ms},
      ${project_id}, ${sled_id}, 1073741824, 512, 'detached' from n`.execute(store)
}
