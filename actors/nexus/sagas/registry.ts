/**
 * Every saga there is: a saga is recovered by its name, so one that is not here cannot be run.
 * `test/unit/nexus/saga-crash.test.ts` cuts each of them off in every place.
 */
import { anySaga, type AnySaga } from '../saga-nodes.ts'
import { diskCreateSaga } from './disk-create.ts'
import { diskDeleteSaga } from './disk-delete.ts'
import { imageCreateSaga } from './image-create.ts'
import { imageDeleteSaga } from './image-delete.ts'
import { instanceCreateSaga } from './instance-create.ts'
import { instanceDeleteSaga } from './instance-delete.ts'
import { instanceMigrateSaga } from './instance-migrate.ts'
import { instanceRebootSaga, instanceStartSaga, instanceStopSaga } from './instance-state.ts'
import { snapshotCreateSaga } from './snapshot-create.ts'
import { snapshotDeleteSaga } from './snapshot-delete.ts'
import { projectCreateSaga, vpcCreateSaga } from './vpc-create.ts'

export const registeredSagas: readonly AnySaga[] = [
  anySaga(diskCreateSaga),
  anySaga(diskDeleteSaga),
  anySaga(imageCreateSaga),
  anySaga(imageDeleteSaga),
  anySaga(instanceCreateSaga),
  anySaga(instanceDeleteSaga),
  anySaga(instanceMigrateSaga),
  anySaga(instanceRebootSaga),
  anySaga(instanceStartSaga),
  anySaga(instanceStopSaga),
  anySaga(projectCreateSaga),
  anySaga(snapshotCreateSaga),
  anySaga(snapshotDeleteSaga),
  anySaga(vpcCreateSaga),
]
