/** All operations by their operationId. `implement` gives one its handler; see ../README.md. */
import { disksOperations } from './disks.ts'
import { imagesOperations } from './images.ts'
import { instancesOperations } from './instances.ts'
import { ipPoolsOperations } from './ip-pools.ts'
import { loginOperations } from './login.ts'
import { metricsOperations } from './metrics.ts'
import { projectsOperations } from './projects.ts'
import { sessionOperations } from './session.ts'
import { silosOperations } from './silos.ts'
import { systemOperations } from './system.ts'
import { vpcsOperations } from './vpcs.ts'

export const operations = {
  ...disksOperations,
  ...imagesOperations,
  ...instancesOperations,
  ...ipPoolsOperations,
  ...loginOperations,
  ...metricsOperations,
  ...projectsOperations,
  ...sessionOperations,
  ...silosOperations,
  ...systemOperations,
  ...vpcsOperations,
}
export type Operations = typeof operations
export type OperationId = keyof Operations
