/**
 * What a zone looks like to an OCI runtime (runtime-spec 1.0, config.json): the host's programs and
 * libraries read-only, nothing of its secrets, no capabilities, namespaces of its own.
 */
import { lstatSync, readlinkSync, statSync } from 'node:fs'
import type { ZoneConfig } from '#native/platform/zone.ts'

/** Top-level names of a Linux system that hold programs and libraries. */
const systemNames = ['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'] as const
/** What of /etc programs need to find libraries and certificates; no password or key is there. */
const etcNames = ['alternatives', 'ld.so.cache', 'ld.so.conf', 'ld.so.conf.d', 'ssl/certs'] as const

interface Mount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}
/** A symbolic link at the root of the zone, as merged-/usr systems have them. */
export interface RootLink {
  readonly name: string
  readonly target: string
}

/** The links that the host's root has among the system's names. */
export function rootLinks(): readonly RootLink[] {
  return systemNames.flatMap((name) => {
    const found = lstatSync(`/${name}`, { throwIfNoEntry: false })
    return found?.isSymbolicLink() === true ? [{ name, target: readlinkSync(`/${name}`) }] : []
  })
}

export interface OciPlace {
  /** The directory that becomes the zone's root. */
  readonly root: string
  /** Path of its control group, where the runtime makes one. */
  readonly cgroup: string
  /** How many descriptors from 3 on are handed to its program. */
  readonly fds: number
}

/** The zone's config.json. */
export function ociConfig(config: ZoneConfig, place: OciPlace): unknown {
  const env = [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'HOME=/tmp',
    ...config.env,
    // The zone's program is process 1 of its own pid namespace.
    ...(config.listen.length > 0 ? [`LISTEN_FDS=${config.listen.length}`, 'LISTEN_PID=1'] : []),
  ]
  return {
    ociVersion: '1.0.2',
    hostname: config.name.slice(0, 63),
    root: { path: place.root, readonly: true },
    process: {
      terminal: false,
      cwd: '/',
      user: { uid: 0, gid: 0 },
      args: config.args,
      env,
      noNewPrivileges: true,
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
    },
    mounts: [...systemMounts(), ...config.mounts.map(bindMount)],
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        config.netns === null ? { type: 'network' } : { type: 'network', path: config.netns },
      ],
      cgroupsPath: place.cgroup,
      devices: config.devices.map(device),
      resources: {
        devices: [{ allow: false, access: 'rwm' }, ...config.devices.map(deviceAccess)],
      },
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/sysrq-trigger'],
      readonlyPaths: ['/proc/sys', '/proc/irq', '/proc/bus'],
    },
    annotations: { 'luge.preserved-fds': String(place.fds) },
  }
}

const tmpfs = (destination: string, mode: string): Mount => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options: ['nosuid', 'nodev', `mode=${mode}`, 'size=64m'],
})

function systemMounts(): readonly Mount[] {
  const directories = systemNames
    .map((name) => `/${name}`)
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
  const etc = etcNames
    .map((name) => `/etc/${name}`)
    .filter((path) => statSync(path, { throwIfNoEntry: false }) !== undefined)
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { ...tmpfs('/dev', '755'), options: ['nosuid', 'mode=755', 'size=64k'] },
    tmpfs('/dev/shm', '1777'),
    tmpfs('/tmp', '1777'),
    tmpfs('/run', '755'),
    ...[...directories, ...etc].map((path) =>
      bindMount({ source: path, destination: path, read_only: true }),
    ),
  ]
}

function bindMount(mount: ZoneConfig['mounts'][number]): Mount {
  const { source, destination, read_only } = mount
  const options = ['rbind', 'nosuid', 'nodev', 'rprivate', read_only ? 'ro' : 'rw']
  return { destination, type: 'bind', source, options }
}

/** The numbers of a device node, as makedev(3) packs them on Linux. */
function deviceNumbers(path: string): { readonly major: number; readonly minor: number } {
  const { rdev } = statSync(path)
  return { major: (rdev >> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >> 12) & 0xfff00) }
}

const device = (path: string) => ({
  path,
  type: 'c',
  ...deviceNumbers(path),
  fileMode: 0o666,
  uid: 0,
  gid: 0,
})

const deviceAccess = (path: string) => ({
  allow: true,
  type: 'c',
  ...deviceNumbers(path),
  access: 'rwm',
})
