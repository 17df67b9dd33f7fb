/** The store's history, in order: version N is the N-th of these. How to add one: README.md. */
import type { Migration } from './migrate.ts'
import { guide } from './migrations/0001-guide.ts'
import { identities } from './migrations/0002-identities.ts'
import { networks } from './migrations/0003-networks.ts'
import { identityProviders } from './migrations/0004-identity-providers.ts'
import { storage } from './migrations/0005-storage.ts'
import { cluster } from './migrations/0006-cluster.ts'
import { hardware } from './migrations/0007-hardware.ts'
import { migration } from './migrations/0008-migration.ts'
import { sagaEnds } from './migrations/0009-saga-ends.ts'

export const migrations: readonly Migration[] = [
  guide,
  identities,
  networks,
  identityProviders,
  storage,
  cluster,
  hardware,
  migration,
  sagaEnds,
]
