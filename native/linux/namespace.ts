/** Network namespaces as places to work in: each with its netlink socket and nftables context. */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Conntrack } from './conntrack.ts'
import {
  createNetns,
  deleteNetns,
  type Descriptor,
  inNetns,
  isNetns,
  openFrames,
  openNetns,
  sendFrame,
} from './libc.sys.ts'
import { Nft, NftError } from './libnftables.sys.ts'
import type { Trace } from './netlink.ts'
import { type Link, Rtnetlink } from './rtnetlink.ts'

const directory = '/run/netns'

/**
 * Names of a sled's kernel objects. All begin with the sled's tag, so that everything it ever made
 * can be found without a note of it.
 */
export class Names {
  readonly #prefix: string
  /** The outer end of the uplink: the only link outside the sled's own namespaces. */
  readonly uplink: string

  /** `tag`: six hex characters, and of several sleds' which one it is. */
  constructor(tag: string) {
    this.#prefix = join(directory, `ox${tag}_`)
    this.uplink = `oxup${tag}`
  }

  /** The namespace of the sled itself, its "global zone". */
  get sled(): string {
    return `${this.#prefix}gz`
  }

  vpc(vni: number): string {
    return `${this.#prefix}v${vni}`
  }

  zone(zone: string): string {
    return `${this.#prefix}${zone}`
  }

  /** Paths of all of the sled's namespaces that have a name now, half-made ones included. */
  all(): readonly string[] {
    if (!existsSync(directory)) return []
    return readdirSync(directory)
      .map((name) => join(directory, name))
      .filter((path) => path.startsWith(this.#prefix))
      .toSorted()
  }

  /** The VNIs whose namespaces are there. */
  vnis(): readonly number[] {
    return this.all()
      .map((path) => /^v([0-9]+)$/.exec(path.slice(this.#prefix.length))?.[1])
      .filter((vni) => vni !== undefined)
      .map(Number)
  }

  /** Paths of the namespaces of zones. */
  zones(): readonly string[] {
    return this.all().filter((path) => path.startsWith(`${this.#prefix}oxz_`))
  }
}

/** One namespace. Its sockets stay there; work that needs the thread there goes through `inside`. */
export class Namespace implements Disposable {
  /** Null: wherever the calling thread is. */
  readonly path: string | null
  /** Tells this namespace from an earlier or later one of the same path. */
  readonly incarnation: string
  readonly rt: Rtnetlink
  readonly #trace: Trace
  #nft: Nft | null = null
  #frames: Descriptor | null = null

  constructor(path: string | null, trace: Trace) {
    this.path = path
    this.incarnation = incarnationOf(path)
    this.#trace = trace
    this.rt = this.inside(() => new Rtnetlink(trace))
  }

  get nft(): Nft {
    this.#nft ??= this.inside(() => new Nft(this.#trace))
    return this.#nft
  }

  /** Sends one whole Ethernet frame. */
  sendFrame(link: Link, frame: Uint8Array): void {
    // Kept open: the kernel takes some 20 ms to close one.
    this.#frames ??= this.inside(openFrames)
    sendFrame(this.#frames, link.index, frame)
  }

  inside<T>(work: () => T): T {
    return this.path === null ? work() : inNetns(this.path, work)
  }

  /** Opens the table of flows; the caller disposes of it. */
  conntrack(): Conntrack {
    return this.inside(() => new Conntrack(this.#trace))
  }

  /** Runs `work` with a descriptor of the namespace itself. */
  withFd<T>(work: (fd: number) => T): T {
    using namespace = openNetns(this.path)
    return work(namespace.fd)
  }

  /** Writes settings below /proc/sys/net, in order; `ipv4/ip_forward` → `1`. */
  configure(settings: Readonly<Record<string, string>>): void {
    this.#trace(`configure ${Object.keys(settings).join(', ')}`)
    this.inside(() => {
      for (const [name, value] of Object.entries(settings)) {
        writeFileSync(join('/proc/sys/net', name), value)
      }
    })
  }

  [Symbol.dispose](): void {
    this.rt[Symbol.dispose]()
    this.#nft?.[Symbol.dispose]()
    this.#nft = null
    this.#frames?.[Symbol.dispose]()
    this.#frames = null
  }
}

/**
 * Applies rules that only grow, where that is possible and possible here, else the whole: taking
 * anything away costs the kernel a grace period of some 20 ms, paid by the next change.
 */
export function applyGrowing(
  { nft }: Namespace,
  text: { readonly grown: string | null; readonly whole: string },
  what: string,
): void {
  if (text.grown === '') return
  try {
    nft.apply(text.grown ?? text.whole, what)
  } catch (error) {
    if (text.grown === null || !(error instanceof NftError)) throw error
    nft.apply(text.whole, what)
  }
}

const ownPath = '/proc/thread-self/ns/net'

function incarnationOf(path: string | null): string {
  const { dev, ino } = statSync(path ?? ownPath)
  return `${dev}:${ino}`
}

/** Namespaces in use. Their sockets are kept: opening them costs more than most of what they do. */
export class Namespaces {
  readonly #trace: Trace
  readonly #open = new Map<string | null, Namespace>()

  constructor(trace: Trace) {
    this.#trace = trace
  }

  /** The namespace at a path (null: the caller's own); null when there is none. */
  find(path: string | null): Namespace | null {
    const known = this.#open.get(path)
    const isThere = path === null || isNetns(path)
    if (known !== undefined && isThere && known.incarnation === incarnationOf(path)) return known
    this.#forget(path)
    if (!isThere) return null
    const namespace = new Namespace(path, this.#trace)
    this.#open.set(path, namespace)
    return namespace
  }

  /**
   * Works in a namespace of somebody else's; null when there is none. Nothing of it is kept open: that
   * would keep the namespace itself when its owner removes it.
   */
  visit<T>(path: string, work: (namespace: Namespace) => T): T | null {
    if (!isNetns(path)) return null
    using namespace = new Namespace(path, this.#trace)
    return work(namespace)
  }

  ensure(path: string): Namespace {
    const found = this.find(path)
    if (found !== null) return found
    this.#trace(`make namespace ${path}`)
    createNetns(path)
    const made = this.find(path)
    if (made === null) throw new Error(`namespace ${path} is gone as soon as it is made`)
    return made
  }

  remove(path: string): void {
    this.#forget(path)
    this.#trace(`delete namespace ${path}`)
    deleteNetns(path)
  }

  #forget(path: string | null): void {
    this.#open.get(path)?.[Symbol.dispose]()
    this.#open.delete(path)
  }

  /** Closes the sockets; the namespaces stay. */
  close(): void {
    for (const path of [...this.#open.keys()]) this.#forget(path)
  }
}
