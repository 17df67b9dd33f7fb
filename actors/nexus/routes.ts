/** Every operation that Nexus serves. */
import { diskRoutes } from './disks.ts'
import { firewallRuleRoutes } from './firewall-rules.ts'
import { hardwareRoutes } from './hardware.ts'
import { imageRoutes } from './images.ts'
import { instanceRoutes } from './instances-api.ts'
import { ipPoolRoutes } from './ip-pools.ts'
import { ipRangeRoutes } from './ip-ranges.ts'
import { loginRoutes } from './login.ts'
import { metricRoutes } from './metrics.ts'
import { networkInterfaceRoutes } from './network-interfaces.ts'
import { organizationRoutes } from './organizations.ts'
import { policyRoutes } from './policies.ts'
import { projectImageRoutes } from './project-images.ts'
import { projectRoutes } from './projects.ts'
import { roleRoutes } from './roles.ts'
import { routerRoutes } from './routers.ts'
import { samlLoginRoutes } from './saml-login.ts'
import { samlRoutes } from './saml.ts'
import { serialRoutes } from './serial.ts'
import { sessionRoutes } from './session.ts'
import { siloRoutes } from './silos.ts'
import { snapshotRoutes } from './snapshots.ts'
import { updateRoutes } from './updates.ts'
import { subnetRoutes } from './subnets.ts'
import { userRoutes } from './users.ts'
import { vpcRoutes } from './vpcs.ts'
import type { Route } from './api/route.ts'

export const routes: readonly Route[] = [
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
