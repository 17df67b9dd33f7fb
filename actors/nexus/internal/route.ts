/** What the internal API's handlers are given, and how an operation of it gets its handler. */
import type { nexusProtocol } from '#actors/nexus.protocol.ts'
import type { Ref } from '#runtime/actor/actor.ts'
import type { Result } from '#runtime/result.ts'
import { implementer } from '#actors/http/route.ts'
import type { Services } from '../context.ts'
import type { RequestCounts } from '#actors/http/requests.ts'
import { internalOperations } from './contract.ts'

export interface Endpoint {
  readonly ip: string
  readonly port: number
}
/** Sends a JSON body to a program on the underlay; the failure says why it did not take it. */
export type Post = (to: Endpoint, path: string, body: object) => Promise<Result<null, 'refused'>>

export interface InternalServices extends Services {
  /** This Nexus' own actor: what is reported over HTTP goes the way of the messages. */
  readonly nexus: Ref<typeof nexusProtocol>
  readonly post: Post
  /** The requests that this process has answered, by the face that they came to. */
  readonly faces: Readonly<Record<'nexus-external' | 'nexus-internal', RequestCounts>>
  readonly time_started_ms: number
}

export const implementInternal = implementer<typeof internalOperations, InternalServices>(
  internalOperations,
)
