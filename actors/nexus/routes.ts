/** Every operation that Nexus serves. */
import { diskRoutes } from './storage/disks.ts'
import { firewallRuleRoutes } from './networking/firewall-rules.ts'
import { hardwareRoutes } from './hardware.ts'
import { imageRoutes } from './storage/images.ts'
import { instanceRoutes } from './compute/instances-api.ts'
import { ipPoolRoutes } from './networking/ip-pools.ts'
import { ipRangeRoutes } from './networking/ip-ranges.ts'
import { loginRoutes } from './access/login.ts'
import { metricRoutes } from './storage/metrics.ts'
import { networkInterfaceRoutes } from './networking/network-interfaces.ts'
import { organizationRoutes } from './organizations.ts'
import { policyRoutes } from './access/policies.ts'
import { projectImageRoutes } from './storage/project-images.ts'
import { projectRoutes } from './projects.ts'
import { roleRoutes } from './access/roles.ts'
import { routerRoutes } from './networking/routers.ts'
import { samlLoginRoutes } from './access/saml-login.ts'
import { samlRoutes } from './access/saml.ts'
import { serialRoutes } from './compute/serial.ts'
import { sessionRoutes } from './access/session.ts'
import { siloRoutes } from './access/silos.ts'
import { snapshotRoutes } from './storage/snapshots.ts'
import { updateRoutes } from './updates.ts'
import { subnetRoutes } from './networking/subnets.ts'
import { userRoutes } from './access/users.ts'
import { vpcRoutes } from './networking/vpcs.ts'
import type { NexusRoute } from './api/route.ts'

export const routes: readonly NexusRoute[] = [
  ...diskRoutes,
  ...firewallRuleRoutes,
  ...hardwareRoutes,
  ...imageRoutes,
  ...instanceRoutes,
  ...ipPoolRoutes,
  ...ipRangeRoutes,
  ...loginRoutes,
  ...metricRoutes,
  ...networkInterfaceRoutes,
  ...organizationRoutes,
  ...policyRoutes,
  ...projectImageRoutes,
  ...projectRoutes,
  ...roleRoutes,
  ...routerRoutes,
  ...samlLoginRoutes,
  ...samlRoutes,
  ...serialRoutes,
  ...sessionRoutes,
  ...siloRoutes,
  ...snapshotRoutes,
  ...updateRoutes,
  ...subnetRoutes,
  ...userRoutes,
  ...vpcRoutes,
]
