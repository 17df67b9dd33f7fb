/** VPCs, subnets, firewalls, routers and routes. */
import { Type } from 'typebox'
import { networkInterface } from './instances.ts'
import { operation } from '#actors/http/operation.ts'
import {
  maybe,
  name,
  uuid,
  uint16,
  ipAddress,
  ipv4Net,
  ipv6Net,
  ipNet,
  l4PortRange,
  identity,
  updatedIdentity,
  named,
  page,
} from '#actors/http/words.ts'

const vpcsPath = '/organizations/{organization_name}/projects/{project_name}/vpcs'
const vpcPath = `${vpcsPath}/{vpc_name}` as const
const routerPath = `${vpcPath}/routers/{router_name}` as const

export const routeDestination = Type.Union(
  [
    Type.Object({ type: Type.Literal('ip'), value: ipAddress }),
    Type.Object({ type: Type.Literal('ip_net'), value: ipNet }),
    Type.Object({ type: Type.Literal('vpc'), value: name }),
    Type.Object({ type: Type.Literal('subnet'), value: name }),
  ],
  { component: 'RouteDestination' },
)

export const routeTarget = Type.Union(
  [
    Type.Object({ type: Type.Literal('ip'), value: ipAddress }),
    Type.Object({ type: Type.Literal('vpc'), value: name }),
    Type.Object({ type: Type.Literal('subnet'), value: name }),
    Type.Object({ type: Type.Literal('instance'), value: name }),
    Type.Object({ type: Type.Literal('internet_gateway'), value: name }),
  ],
  { component: 'RouteTarget' },
)

export const routerRouteKind = Type.Union(
  [
    Type.Literal('default'),
    Type.Literal('vpc_subnet'),
    Type.Literal('vpc_peering'),
    Type.Literal('custom'),
  ],
  { component: 'RouterRouteKind' },
)

export const routerRoute = Type.Object(
  {
    ...named,
    destination: routeDestination,
    kind: routerRouteKind,
    target: routeTarget,
    vpc_router_id: uuid,
  },
  { component: 'RouterRoute' },
)

export const routerRouteCreateParams = Type.Object(
  { ...identity, destination: routeDestination, target: routeTarget },
  { component: 'RouterRouteCreateParams' },
)

export const routerRouteUpdateParams = Type.Object(
  { ...updatedIdentity, destination: routeDestination, target: routeTarget },
  { component: 'RouterRouteUpdateParams' },
)

export const vpc = Type.Object(
  { ...named, dns_name: name, ipv6_prefix: ipv6Net, project_id: uuid, system_router_id: uuid },
  { component: 'Vpc' },
)

export const vpcCreate = Type.Object(
  { ...identity, dns_name: name, ipv6_prefix: maybe(ipv6Net) },
  { component: 'VpcCreate' },
)

export const vpcFirewallRuleAction = Type.Enum(['allow', 'deny'], {
  component: 'VpcFirewallRuleAction',
})

export const vpcFirewallRuleDirection = Type.Enum(['inbound', 'outbound'], {
  component: 'VpcFirewallRuleDirection',
})

export const vpcFirewallRuleHostFilter = Type.Union(
  [
    Type.Object({ type: Type.Literal('vpc'), value: name }),
    Type.Object({ type: Type.Literal('subnet'), value: name }),
    Type.Object({ type: Type.Literal('instance'), value: name }),
    Type.Object({ type: Type.Literal('ip'), value: ipAddress }),
    Type.Object({ type: Type.Literal('ip_net'), value: ipNet }),
  ],
  { component: 'VpcFirewallRuleHostFilter' },
)

export const vpcFirewallRuleProtocol = Type.Enum(['TCP', 'UDP', 'ICMP'], {
  component: 'VpcFirewallRuleProtocol',
})

export const vpcFirewallRuleFilter = Type.Object(
  {
    hosts: maybe(Type.Array(vpcFirewallRuleHostFilter)),
    ports: maybe(Type.Array(l4PortRange)),
    protocols: maybe(Type.Array(vpcFirewallRuleProtocol)),
  },
  { component: 'VpcFirewallRuleFilter' },
)

export const vpcFirewallRuleStatus = Type.Enum(['disabled', 'enabled'], {
  component: 'VpcFirewallRuleStatus',
})

export const vpcFirewallRuleTarget = Type.Union(
  [
    Type.Object({ type: Type.Literal('vpc'), value: name }),
    Type.Object({ type: Type.Literal('subnet'), value: name }),
    Type.Object({ type: Type.Literal('instance'), value: name }),
    Type.Object({ type: Type.Literal('ip'), value: ipAddress }),
    Type.Object({ type: Type.Literal('ip_net'), value: ipNet }),
  ],
  { component: 'VpcFirewallRuleTarget' },
)

export const vpcFirewallRule = Type.Object(
  {
    ...named,
    action: vpcFirewallRuleAction,
    direction: vpcFirewallRuleDirection,
    filters: vpcFirewallRuleFilter,
    priority: uint16,
    status: vpcFirewallRuleStatus,
    targets: Type.Array(vpcFirewallRuleTarget),
    vpc_id: uuid,
  },
  { component: 'VpcFirewallRule' },
)

export const vpcFirewallRuleUpdate = Type.Object(
  {
    ...identity,
    action: vpcFirewallRuleAction,
    direction: vpcFirewallRuleDirection,
    filters: vpcFirewallRuleFilter,
    priority: uint16,
    status: vpcFirewallRuleStatus,
    targets: Type.Array(vpcFirewallRuleTarget),
  },
  { component: 'VpcFirewallRuleUpdate' },
)

export const vpcFirewallRuleUpdateParams = Type.Object(
  { rules: Type.Array(vpcFirewallRuleUpdate) },
  { component: 'VpcFirewallRuleUpdateParams' },
)

export const vpcFirewallRules = Type.Object(
  { rules: Type.Array(vpcFirewallRule) },
  { component: 'VpcFirewallRules' },
)

export const vpcRouterKind = Type.Enum(['system', 'custom'], { component: 'VpcRouterKind' })

export const vpcRouter = Type.Object(
  { ...named, kind: vpcRouterKind, vpc_id: uuid },
  { component: 'VpcRouter' },
)

export const vpcRouterCreate = Type.Object({ ...identity }, { component: 'VpcRouterCreate' })

export const vpcRouterUpdate = Type.Object({ ...updatedIdentity }, { component: 'VpcRouterUpdate' })

export const vpcSubnet = Type.Object(
  { ...named, ipv4_block: ipv4Net, ipv6_block: ipv6Net, vpc_id: uuid },
  { component: 'VpcSubnet' },
)

export const vpcSubnetCreate = Type.Object(
  { ...identity, ipv4_block: ipv4Net, ipv6_block: maybe(ipv6Net) },
  { component: 'VpcSubnetCreate' },
)

export const vpcSubnetUpdate = Type.Object({ ...updatedIdentity }, { component: 'VpcSubnetUpdate' })

export const vpcUpdate = Type.Object(
  { ...updatedIdentity, dns_name: maybe(name) },
  { component: 'VpcUpdate' },
)

export const vpcsOperations = {
  vpc_router_route_view_by_id: operation('GET /by-id/vpc-router-routes/{id}', {
    tag: 'vpcs',
    summary: 'Fetch a route by id',
    reply: routerRoute,
  }),
  vpc_router_view_by_id: operation('GET /by-id/vpc-routers/{id}', {
    tag: 'vpcs',
    summary: 'Get a router by id',
    reply: vpcRouter,
  }),
  vpc_subnet_view_by_id: operation('GET /by-id/vpc-subnets/{id}', {
    tag: 'vpcs',
    summary: 'Fetch a subnet by id',
    reply: vpcSubnet,
  }),
  vpc_view_by_id: operation('GET /by-id/vpcs/{id}', {
    tag: 'vpcs',
    summary: 'Fetch a VPC',
    reply: vpc,
  }),
  vpc_list: operation(`GET ${vpcsPath}`, {
    tag: 'vpcs',
    summary: 'List VPCs',
    page: 'name',
    reply: page(vpc),
  }),
  vpc_create: operation(`POST ${vpcsPath}`, {
    tag: 'vpcs',
    summary: 'Create a VPC',
    body: vpcCreate,
    reply: vpc,
  }),
  vpc_view: operation(`GET ${vpcPath}`, { tag: 'vpcs', summary: 'Fetch a VPC', reply: vpc }),
  vpc_update: operation(`PUT ${vpcPath}`, {
    tag: 'vpcs',
    summary: 'Update a VPC',
    body: vpcUpdate,
    reply: vpc,
  }),
  vpc_delete: operation(`DELETE ${vpcPath}`, {
    tag: 'vpcs',
    summary: 'Delete a VPC',
    reply: 'nothing',
  }),
  vpc_firewall_rules_view: operation(`GET ${vpcPath}/firewall/rules`, {
    tag: 'vpcs',
    summary: 'List firewall rules',
    reply: vpcFirewallRules,
  }),
  vpc_firewall_rules_update: operation(`PUT ${vpcPath}/firewall/rules`, {
    tag: 'vpcs',
    summary: 'Replace firewall rules',
    body: vpcFirewallRuleUpdateParams,
    reply: vpcFirewallRules,
  }),
  vpc_router_list: operation(`GET ${vpcPath}/routers`, {
    tag: 'vpcs',
    summary: 'List routers',
    page: 'name',
    reply: page(vpcRouter),
  }),
  vpc_router_create: operation(`POST ${vpcPath}/routers`, {
    tag: 'vpcs',
    summary: 'Create a router',
    body: vpcRouterCreate,
    reply: vpcRouter,
  }),
  vpc_router_view: operation(`GET ${routerPath}`, {
    tag: 'vpcs',
    summary: 'Get a router',
    reply: vpcRouter,
  }),
  vpc_router_update: operation(`PUT ${routerPath}`, {
    tag: 'vpcs',
    summary: 'Update a router',
    body: vpcRouterUpdate,
    reply: vpcRouter,
  }),
  vpc_router_delete: operation(`DELETE ${routerPath}`, {
    tag: 'vpcs',
    summary: 'Delete a router',
    reply: 'nothing',
  }),
  vpc_router_route_list: operation(`GET ${routerPath}/routes`, {
    tag: 'vpcs',
    summary: 'List routes',
    page: 'name',
    reply: page(routerRoute),
  }),
  vpc_router_route_create: operation(`POST ${routerPath}/routes`, {
    tag: 'vpcs',
    summary: 'Create a router',
    body: routerRouteCreateParams,
    reply: routerRoute,
  }),
  vpc_router_route_view: operation(`GET ${routerPath}/routes/{route_name}`, {
    tag: 'vpcs',
    summary: 'Fetch a route',
    reply: routerRoute,
  }),
  vpc_router_route_update: operation(`PUT ${routerPath}/routes/{route_name}`, {
    tag: 'vpcs',
    summary: 'Update a route',
    body: routerRouteUpdateParams,
    reply: routerRoute,
  }),
  vpc_router_route_delete: operation(`DELETE ${routerPath}/routes/{route_name}`, {
    tag: 'vpcs',
    summary: 'Delete a route',
    reply: 'nothing',
  }),
  vpc_subnet_list: operation(`GET ${vpcPath}/subnets`, {
    tag: 'vpcs',
    summary: 'List subnets',
    page: 'name',
    reply: page(vpcSubnet),
  }),
  vpc_subnet_create: operation(`POST ${vpcPath}/subnets`, {
    tag: 'vpcs',
    summary: 'Create a subnet',
    body: vpcSubnetCreate,
    reply: vpcSubnet,
  }),
  vpc_subnet_view: operation(`GET ${vpcPath}/subnets/{subnet_name}`, {
    tag: 'vpcs',
    summary: 'Fetch a subnet',
    reply: vpcSubnet,
  }),
  vpc_subnet_update: operation(`PUT ${vpcPath}/subnets/{subnet_name}`, {
    tag: 'vpcs',
    summary: 'Update a subnet',
    body: vpcSubnetUpdate,
    reply: vpcSubnet,
  }),
  vpc_subnet_delete: operation(`DELETE ${vpcPath}/subnets/{subnet_name}`, {
    tag: 'vpcs',
    summary: 'Delete a subnet',
    reply: 'nothing',
  }),
  vpc_subnet_list_network_interfaces: operation(
    `GET ${vpcPath}/subnets/{subnet_name}/network-interfaces`,
    {
      tag: 'vpcs',
      summary: 'List network interfaces',
      page: 'name',
      reply: page(networkInterface),
    },
  ),
}
