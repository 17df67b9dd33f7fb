/** What the document says of the external API as a whole. */
import type { About } from '#actors/http/openapi.ts'

/** What operations are sorted by. */
export const tags = {
  disks: 'Volumes that instances boot from and keep data on.',
  firewall: 'What traffic may enter and leave a VPC.',
  hardware: 'Racks and sleds.',
  hidden: 'Operations for the console and the command line, not for customers.',
  images: 'What disks can be filled from, within a project.',
  'images:global': 'What disks can be filled from, for everybody.',
  instances: 'Virtual machines.',
  'ip-pools': 'External addresses that instances can be given.',
  login: 'Ways to get a session.',
  metrics: 'Measurements of hardware and software.',
  organizations: 'Groups of projects.',
  policy: 'Roles on the whole fleet.',
  projects: 'Groups of resources, for access control.',
  roles: 'What can be assigned to users and groups.',
  routers: 'What directs traffic within a VPC and out of it.',
  routes: 'The rules of routers.',
  sagas: 'Operations of many steps, running and past.',
  session: 'The caller.',
  silos: 'Separate sets of users and resources.',
  snapshots: 'Disks as they were at one moment.',
  subnets: 'Parts of a VPC.',
  system: "The operator's resources.",
  updates: 'Software that can be installed.',
  vpcs: 'Private networks of instances.',
} as const
export const aboutExternal: About = {
  title: 'Oxide Region API',
  description: 'API for interacting with the Oxide control plane',
  tags,
}
