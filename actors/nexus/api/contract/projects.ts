/** Organizations and projects. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import {
  assignments,
  uuid,
  identity,
  updatedIdentity,
  named,
  page,
  identityType,
} from '#actors/http/words.ts'

const organizationPath = '/organizations/{organization_name}'
const projectPath = `${organizationPath}/projects/{project_name}` as const

export const organization = Type.Object({ ...named }, { component: 'Organization' })

export const organizationCreate = Type.Object({ ...identity }, { component: 'OrganizationCreate' })

export const organizationRole = Type.Enum(['admin', 'collaborator', 'viewer'], {
  component: 'OrganizationRole',
})

export const organizationRoleRoleAssignment = Type.Object(
  { identity_id: uuid, identity_type: identityType, role_name: organizationRole },
  { component: 'OrganizationRoleRoleAssignment' },
)

export const organizationRolePolicy = Type.Object(
  { role_assignments: assignments(organizationRoleRoleAssignment) },
  { component: 'OrganizationRolePolicy' },
)

export const organizationUpdate = Type.Object(
  { ...updatedIdentity },
  { component: 'OrganizationUpdate' },
)

export const project = Type.Object({ ...named, organization_id: uuid }, { component: 'Project' })

export const projectCreate = Type.Object({ ...identity }, { component: 'ProjectCreate' })

export const projectRole = Type.Enum(['admin', 'collaborator', 'viewer'], {
  component: 'ProjectRole',
})

export const projectRoleRoleAssignment = Type.Object(
  { identity_id: uuid, identity_type: identityType, role_name: projectRole },
  { component: 'ProjectRoleRoleAssignment' },
)

export const projectRolePolicy = Type.Object(
  { role_assignments: assignments(projectRoleRoleAssignment) },
  { component: 'ProjectRolePolicy' },
)

export const projectUpdate = Type.Object({ ...updatedIdentity }, { component: 'ProjectUpdate' })

export const projectsOperations = {
  organization_view_by_id: operation('GET /by-id/organizations/{id}', {
    tag: 'organizations',
    summary: 'Fetch an organization by id',
    reply: organization,
  }),
  project_view_by_id: operation('GET /by-id/projects/{id}', {
    tag: 'projects',
    summary: 'Fetch a project by id',
    reply: project,
  }),
  organization_list: operation('GET /organizations', {
    tag: 'organizations',
    summary: 'List organizations',
    page: 'name_or_id',
    reply: page(organization),
  }),
  organization_create: operation('POST /organizations', {
    tag: 'organizations',
    summary: 'Create an organization',
    body: organizationCreate,
    reply: organization,
  }),
  organization_view: operation(`GET ${organizationPath}`, {
    tag: 'organizations',
    summary: 'Fetch an organization',
    reply: organization,
  }),
  organization_update: operation(`PUT ${organizationPath}`, {
    tag: 'organizations',
    summary: 'Update an organization',
    body: organizationUpdate,
    reply: organization,
  }),
  organization_delete: operation(`DELETE ${organizationPath}`, {
    tag: 'organizations',
    summary: 'Delete an organization',
    reply: 'nothing',
  }),
  organization_policy_view: operation(`GET ${organizationPath}/policy`, {
    tag: 'organizations',
    summary: "Fetch an organization's IAM policy",
    reply: organizationRolePolicy,
  }),
  organization_policy_update: operation(`PUT ${organizationPath}/policy`, {
    tag: 'organizations',
    summary: "Update an organization's IAM policy",
    body: organizationRolePolicy,
    reply: organizationRolePolicy,
  }),
  project_list: operation(`GET ${organizationPath}/projects`, {
    tag: 'projects',
    summary: 'List projects',
    page: 'name_or_id',
    reply: page(project),
  }),
  project_create: operation(`POST ${organizationPath}/projects`, {
    tag: 'projects',
    summary: 'Create a project',
    body: projectCreate,
    reply: project,
  }),
  project_view: operation(`GET ${projectPath}`, {
    tag: 'projects',
    summary: 'Fetch a project',
    reply: project,
  }),
  project_update: operation(`PUT ${projectPath}`, {
    tag: 'projects',
    summary: 'Update a project',
    body: projectUpdate,
    reply: project,
  }),
  project_delete: operation(`DELETE ${projectPath}`, {
    tag: 'projects',
    summary: 'Delete a project',
    reply: 'nothing',
  }),
  project_policy_view: operation(`GET ${projectPath}/policy`, {
    tag: 'projects',
    summary: "Fetch a project's IAM policy",
    reply: projectRolePolicy,
  }),
  project_policy_update: operation(`PUT ${projectPath}/policy`, {
    tag: 'projects',
    summary: "Update a project's IAM policy",
    body: projectRolePolicy,
    reply: projectRolePolicy,
  }),
}
