/**
 * What sleds are still to be sent. A change counts up the generation of what it concerns and makes it
 * owed; once every sled that is there has taken that generation, it is owed no more. Whoever makes a
 * change sends at once; what that does not reach is sent by the background task, whoever has it then.
 */
import { sql, type OnConflictBuilder } from 'kysely'
import type { Services } from './context.ts'
import { prepare } from './store/prepare.ts'
import type { StoreTransaction, Tables } from './store/schema.ts'
import { transact } from './store/transact.ts'

/**
 * `firewall`: the rules of the VPC of this id, and where its guests are. `nat`: where external addresses
 * are. `dns`: the zone. Those two are the rack's, and their id is empty.
 */
export interface Owed<Kind extends 'firewall' | 'nat' | 'dns' = 'firewall' | 'nat' | 'dns'> {
  readonly kind: Kind
  readonly id: string
}
/** What the `publisher` sends. */
export type OwedOfNetworks = Owed<'firewall' | 'nat'>
const sends_max = 8

/** Says that something has to be sent: in the transaction of the change, so that no crash comes between. */
export async function owe(store: StoreTransaction, { kind, id }: Owed): Promise<void> {
  await nowOwed(store, { kind, id })
}

const owedAgain = (conflict: OnConflictBuilder<Tables, 'propagation'>) =>
  conflict
    .columns(['kind', 'id'])
    .doUpdateSet({ generation: sql`propagation.generation + 1`, is_owed: true })

const nowOwed = prepare((store, { kind, id }: { readonly [K in keyof Owed]: Owed[K] }) =>
  store
    .insertInto('propagation')
    .values({ kind, id, generation: 1, is_owed: true })
    .onConflict(owedAgain),
)

/**
 * The same for all VPCs that an instance has, or had, interfaces in, whose other ports are to be told that its
 * addresses came or went; and for external addresses, in a rack where they may be elsewhere. Gives back what
 * is owed now, for `publisher.sendSoon`.
 */
export async function oweNeighbours(
  { config }: Pick<Services, 'config'>,
  store: StoreTransaction,
  instance_id: string,
): Promise<readonly OwedOfNetworks[]> {
  const interfaces = await interfaceVpcs(store, { instance_id })
  const vpcs = [...new Set(interfaces.map(({ vpc_id }) => vpc_id))].toSorted()
  const all = [
    ...vpcs.map((id) => ({ kind: 'firewall', id }) as const),
    ...(config.sleds.length > 1 ? [{ kind: 'nat', id: '' } as const] : []),
  ]
  for (const owed of all) await owe(store, owed)
  return all
}

const interfaceVpcs = prepare((store, { instance_id }: { readonly instance_id: string }) =>
  store.selectFrom('network_interface').select('vpc_id').where('instance_id', '=', instance_id),
)

/** What has not been sent; `isWhole`: all that there is. */
export async function allOwed({ store }: Services, isWhole: boolean): Promise<readonly Owed[]> {
  return await store
    .selectFrom('propagation')
    .select(['kind', 'id'])
    .where('is_owed', 'in', isWhole ? [true, false] : [true])
    .execute()
}

/**
 * Sends, again if something changed meanwhile: another member may have sent what is newer, which this
 * one has then replaced. Gives back whether all that is wanted was taken. `send` gets the generation, 0
 * when nothing was ever owed.
 */
export async function settle(
  services: Services,
  owed: Owed,
  send: (generation: number) => Promise<boolean>,
): Promise<boolean> {
  for (let sends = 0; sends < sends_max; sends += 1) {
    const generation = await generationOf(services, owed)
    if (!(await send(generation ?? 0))) return false
    if (generation === null || (await isPaid(services, owed, generation))) return true
  }
  return false
}

const generations = prepare((store, { kind, id }: { readonly [K in keyof Owed]: Owed[K] }) =>
  store
    .selectFrom('propagation')
    .select('generation')
    .where('kind', '=', kind)
    .where('id', '=', id),
)
const paid = prepare(
  (
    store,
    {
      kind,
      id,
      generation,
    }: { readonly [K in keyof Owed]: Owed[K] } & { readonly generation: number },
  ) =>
    store
      .updateTable('propagation')
      .set({ is_owed: false })
      .where('kind', '=', kind)
      .where('id', '=', id)
      .where('generation', '=', generation)
      .returning('id'),
)

async function generationOf({ store }: Services, { kind, id }: Owed): Promise<number | null> {
  const [row] = await generations(store, { kind, id })
  return row?.generation ?? null
}

async function isPaid(
  services: Services,
  { kind, id }: Owed,
  generation: number,
): Promise<boolean> {
  const rows = await transact(
    services,
    async (store) => await paid(store, { kind, id, generation }),
  )
  return rows.length > 0
}
