/** What the external API's handlers are given, and how an operation of it gets its handler. */
import { implementer, type Asked, type CallOf, type Route } from '#actors/http/route.ts'
import type { Actor, Services } from '../context.ts'
import { operations, type OperationId, type Operations } from './contract/operations.ts'

export interface AnyCall extends Asked<Services> {}
/** A request of somebody who has said who they are. */
export interface UserCall extends AnyCall {
  readonly actor: Actor
}
export type Call<Id extends OperationId> = CallOf<Operations[Id], Services, Actor>

export const implement = implementer<Operations, Services, Actor>(operations)
/** An operation of the external API with what it does. */
export type NexusRoute = Route<Services, OperationId>
