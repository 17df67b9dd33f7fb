/** The sled agent's document against the original. */
import { documentOf } from '#actors/nexus/api/openapi.ts'
import { aboutSledAgent, sledAgentOperations } from '#actors/sled-agent/contract.ts'
import { original, sameDocument } from '../nexus/documents.ts'

const operations = Object.entries(sledAgentOperations).map(([id, operation]) => ({ id, operation }))
sameDocument(original('sled-agent.json'), documentOf(operations, aboutSledAgent))
