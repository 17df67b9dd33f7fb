/** Nexus' way to the sleds: typed refs to their actors, and what may be asked of any of them. */
import type { RefMaker } from '#runtime/actor/actor.ts'
import { limits } from '#config/limits.ts'
import { consoleProtocol } from '#actors/console.protocol.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { dnsProtocol } from '#actors/dns.protocol.ts'
import { instanceProtocol } from '#actors/instance.protocol.ts'
import { sledProtocol } from '#actors/sled.protocol.ts'
import { networkProtocol } from '#actors/network.protocol.ts'
import { vnicProtocol } from '#actors/vnic.protocol.ts'
import { err } from '#runtime/result.ts'
import type { Work } from '#runtime/trace.ts'

export class Sleds {
  readonly #refFor: (work: Work | null) => RefMaker
  readonly #ref: RefMaker
  readonly #connected: () => readonly string[]

  /** `connected`: the sleds whose links are up now. */
  constructor(
    refFor: (work: Work | null) => RefMaker,
    connected: () => readonly string[],
    work: Work | null = null,
  ) {
    this.#refFor = refFor
    this.#ref = refFor(work)
    this.#connected = connected
  }

  /** The same sleds, asked on behalf of a piece of work. */
  for(work: Work): Sleds {
    return new Sleds(this.#refFor, this.#connected, work)
  }

  get connected(): readonly string[] {
    return this.#connected()
  }

  readonly disk = (sled_id: string, id: string) => this.#ref(diskProtocol, id, sled_id)
  readonly instance = (sled_id: string, id: string) => this.#ref(instanceProtocol, id, sled_id)
  readonly vnic = (sled_id: string, id: string) => this.#ref(vnicProtocol, id, sled_id)
  readonly network = (sled_id: string) => this.#ref(networkProtocol, 'rack', sled_id)
  readonly dns = (sled_id: string) => this.#ref(dnsProtocol, 'internal', sled_id)
  /** A watcher of an instance's console, one for each stream. */
  readonly console = (sled_id: string, instance_id: string, stream_id: string) =>
    this.#ref(consoleProtocol, `${instance_id}.${stream_id}`, sled_id)

  /** Asks an image's URL for its size, from a sled: there it will be fetched. */
  async probeImage(url: string) {
    const [sled_id] = this.connected
    if (sled_id === undefined) return err('unreachable', 'no sled is connected')
    return await this.#ref(sledProtocol, sled_id, sled_id).call(
      'image_probe',
      { url },
      { timeout_ms: 2 * limits.image_probe_ms_max },
    )
  }
}
