/** `luge openapi`: what the API is, for those who write clients. */
import { documentOf } from '#actors/http/openapi.ts'
import { aboutExternal } from '#actors/nexus/api/contract/about.ts'
import { routes } from '#actors/nexus/routes.ts'

/** Prints the OpenAPI document of the API. */
export function printDocument(): void {
  process.stdout.write(`${JSON.stringify(documentOf(routes, aboutExternal), null, 2)}\n`)
}
