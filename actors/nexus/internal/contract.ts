/** Nexus' internal API: what sleds, their services and metric collectors tell it (spec/02 §17). */
import { Type } from 'typebox'
import type { About } from '#actors/http/openapi.ts'
import { operation } from '#actors/http/operation.ts'
import {
  diskRuntimeState,
  instanceRuntimeState,
  updateArtifactKind,
} from '../api/contract/runtime.ts'
import {
  byteCount,
  int64,
  ipv6,
  maybe,
  socketAddress,
  uint32,
  uint64,
  uuid,
} from '#actors/http/words.ts'
import { producerResultsItem } from './samples.ts'

export const aboutInternal: About = {
  title: 'Nexus internal API',
  description: 'Nexus internal API',
  tags: null,
}

export const sledRole = Type.Union([Type.Literal('gimlet'), Type.Literal('scrimlet')], {
  component: 'SledRole',
})
const sledAgentStartupInfo = Type.Object(
  { sa_address: socketAddress, role: sledRole },
  { component: 'SledAgentStartupInfo' },
)

export const serviceKind = Type.Enum(
  ['internal_d_n_s', 'nexus', 'oximeter', 'dendrite', 'tfport'],
  { component: 'ServiceKind' },
)
const servicePutRequest = Type.Object(
  { service_id: uuid, sled_id: uuid, address: ipv6, kind: serviceKind },
  { component: 'ServicePutRequest' },
)

const zpoolPutRequest = Type.Object({ size: byteCount }, { component: 'ZpoolPutRequest' })
const zpoolPutResponse = Type.Object({}, { component: 'ZpoolPutResponse' })
export const datasetKind = Type.Enum(['crucible', 'cockroach', 'clickhouse'], {
  component: 'DatasetKind',
})
const datasetPutRequest = Type.Object(
  { address: socketAddress, kind: datasetKind },
  { component: 'DatasetPutRequest' },
)
const datasetPutResponse = Type.Object(
  { reservation: maybe(byteCount), quota: maybe(byteCount) },
  { component: 'DatasetPutResponse' },
)

const oximeterInfo = Type.Object(
  { collector_id: uuid, address: socketAddress },
  { component: 'OximeterInfo' },
)
const duration = Type.Object({ secs: uint64, nanos: uint32 }, { component: 'Duration' })
export const producerEndpoint = Type.Object(
  { id: uuid, address: socketAddress, base_route: Type.String(), interval: duration },
  { component: 'ProducerEndpoint' },
)

export const internalOperations = {
  cpapi_artifact_download: operation('GET /artifacts/{kind}/{name}/{version}', {
    summary: 'Fetch an artifact of an update',
    access: 'anyone',
    path_parts: { kind: updateArtifactKind, name: Type.String(), version: int64 },
    reply: 'bytes',
  }),
  cpapi_disks_put: operation('PUT /disks/{disk_id}', {
    summary: "Report a disk's state",
    access: 'anyone',
    body: diskRuntimeState,
    status: 204,
    reply: 'nothing',
  }),
  cpapi_instances_put: operation('PUT /instances/{instance_id}', {
    summary: "Report an instance's state",
    access: 'anyone',
    body: instanceRuntimeState,
    status: 204,
    reply: 'nothing',
  }),
  cpapi_metrics_collect: operation('GET /metrics/collect/{producer_id}', {
    summary: 'Measurements of this Nexus',
    access: 'anyone',
    reply: Type.Array(producerResultsItem),
  }),
  cpapi_collectors_post: operation('POST /metrics/collectors', {
    summary: 'Register a metric collector',
    access: 'anyone',
    body: oximeterInfo,
    status: 204,
    reply: 'nothing',
  }),
  cpapi_producers_post: operation('POST /metrics/producers', {
    summary: 'Register a metric producer',
    access: 'anyone',
    body: producerEndpoint,
    status: 204,
    reply: 'nothing',
  }),
  rack_initialization_complete: operation('PUT /racks/{rack_id}/initialization-complete', {
    summary: 'Report that a rack has been set up',
    access: 'anyone',
    body: Type.Array(servicePutRequest),
    status: 204,
    reply: 'nothing',
  }),
  sled_agent_put: operation('POST /sled-agents/{sled_id}', {
    summary: 'Report that a sled is there',
    access: 'anyone',
    body: sledAgentStartupInfo,
    status: 204,
    reply: 'nothing',
  }),
  zpool_put: operation('PUT /sled-agents/{sled_id}/zpools/{zpool_id}', {
    summary: "Report a sled's pool",
    access: 'anyone',
    body: zpoolPutRequest,
    reply: zpoolPutResponse,
  }),
  cpapi_volume_remove_read_only_parent: operation(
    'POST /volume/{volume_id}/remove-read-only-parent',
    {
      summary: 'Let go of what a volume was copied from',
      access: 'anyone',
      status: 204,
      reply: 'nothing',
    },
  ),
  dataset_put: operation('PUT /zpools/{zpool_id}/dataset/{dataset_id}', {
    summary: "Report a pool's dataset",
    access: 'anyone',
    body: datasetPutRequest,
    reply: datasetPutResponse,
  }),
}
