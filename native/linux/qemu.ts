/** A guest as QEMU's command line. Paths are those inside its zone. */
import { Type } from 'typebox'
import type { DiskCounters, MachineSpec } from '#native/platform/vmm.ts'
import { fits } from '#runtime/schema.ts'
import type { Accelerator } from './accelerator.ts'

/** Where a guest's zone sees its directory and its disks' sockets. */
export const instanceDirectory = '/instance'
export const diskDirectory = (slot: number): string => `/disk/${slot}`

const mib_bytes = 1024 ** 2
/** How long a guest's writes wait for a volume server that is being started again. */
const reconnect_s = 60

/** `firstTap`: the descriptor of the first port's tap; the others follow in the order of slots. */
export function qemuArguments(
  spec: MachineSpec,
  accelerator: Accelerator,
  firstTap: number,
): readonly string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-machine', `q35,accel=${accelerator.kind}`, '-cpu', accelerator.cpu],
    ...['-smp', String(spec.ncpus), '-m', String(Math.floor(spec.memory_bytes / mib_bytes))],
    ...['-uuid', spec.instance_id, '-name', `guest=${quote(spec.hostname)}`],
    ...['-smbios', `type=1,manufacturer=Oxide,product=OxVM,serial=${spec.instance_id}`],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng-pci,rng=rng0'],
    ...serialArguments(),
    ...spec.disks.flatMap(diskArguments),
    ...seedArguments(),
    ...spec.nics.flatMap((nic, index) => [
      ...['-netdev', `tap,id=net${nic.slot},fd=${firstTap + index},vhost=off`],
      ...['-device', `virtio-net-pci,netdev=net${nic.slot},mac=${nic.mac},romfile=`],
    ]),
  ]
}

/** QEMU's option syntax doubles a comma inside a value; a host name may be any text. */
const quote = (text: string) => text.replaceAll(',', ',,')

/** The console is written to a file by QEMU itself, so that nothing is lost while we are away. */
function serialArguments(): readonly string[] {
  const socket = (id: string, file: string) =>
    `socket,id=${id},path=${instanceDirectory}/${file},server=on,wait=off`
  return [
    '-chardev',
    `${socket('serial0', 'serial.sock')},logfile=${instanceDirectory}/serial.log,logappend=on`,
    ...['-serial', 'chardev:serial0'],
    ...['-chardev', socket('qmp0', 'qmp.sock'), '-mon', 'chardev=qmp0,mode=control'],
  ]
}

const diskNode = (slot: number) => `disk${slot}`

function diskArguments(disk: MachineSpec['disks'][number]): readonly string[] {
  const { slot, block_size } = disk
  const node = {
    driver: 'nbd',
    'node-name': diskNode(slot),
    server: { type: 'unix', path: `${diskDirectory(slot)}/sock` },
    export: disk.export,
    'reconnect-delay': reconnect_s,
    'read-only': disk.read_only,
    discard: 'unmap',
  }
  const device = [
    `virtio-blk-pci,drive=${diskNode(slot)},bootindex=${slot}`,
    `logical_block_size=${block_size},physical_block_size=${block_size}`,
    `serial=${disk.id.slice(0, 20)}`,
  ]
  return ['-blockdev', JSON.stringify(node), '-device', device.join(',')]
}

function seedArguments(): readonly string[] {
  const node = {
    driver: 'raw',
    'node-name': 'cidata',
    'read-only': true,
    file: {
      driver: 'file',
      filename: `${instanceDirectory}/cidata.img`,
      'read-only': true,
      locking: 'off',
    },
  }
  return ['-blockdev', JSON.stringify(node), '-device', 'virtio-blk-pci,drive=cidata,serial=cidata']
}

const blockStats = Type.Array(
  Type.Object({
    'node-name': Type.Optional(Type.String()),
    stats: Type.Object({
      flush_operations: Type.Integer(),
      rd_operations: Type.Integer(),
      rd_bytes: Type.Integer(),
      wr_operations: Type.Integer(),
      wr_bytes: Type.Integer(),
    }),
  }),
)

/** What `query-blockstats` says of a guest's disks. Throws when it says something else. */
export function diskCounters(said: unknown): DiskCounters['disks'] {
  if (!fits(blockStats, said)) throw new Error('QEMU answers query-blockstats with nonsense')
  return said.flatMap(({ 'node-name': node, stats }) => {
    const slot = Number(/^disk(\d)$/.exec(node ?? '')?.[1] ?? -1)
    if (slot < 0) return []
    const { flush_operations, rd_operations, rd_bytes, wr_operations, wr_bytes } = stats
    const [flush, read, write] = [flush_operations, rd_operations, wr_operations]
    return [{ slot, flush, read, read_bytes: rd_bytes, write, write_bytes: wr_bytes }]
  })
}
