/** Serves DHCP on guests' taps from this thread's event loop: one socket a tap, no timers. */
import { createSocket, type Socket } from 'node:dgram'
import { answer, dhcpPorts, type Lease, readRequest } from './dhcp.ts'
import { openUdpOnLink } from './libc.sys.ts'

export interface DhcpCounts {
  readonly answered: number
  /** Malformed, not for us, or nothing that we answer. */
  readonly ignored: number
  /** What the socket could not send or receive. */
  readonly failed: number
}
interface Service {
  readonly where: string
  readonly socket: Socket
  lease: Lease
  answered: number
  ignored: number
  failed: number
}

export class DhcpServers {
  readonly #services = new Map<string, Service>()

  /** Serves a port's tap; `incarnation` differs when a namespace of the same path is a new one. */
  serve(
    id: string,
    tap: { readonly netns: string; readonly link: string; readonly incarnation: string },
    lease: Lease,
  ): void {
    const where = `${tap.netns} ${tap.link} ${tap.incarnation}`
    const known = this.#services.get(id)
    if (known?.where === where) {
      known.lease = lease
      return
    }
    this.stop(id)
    const fd = openUdpOnLink(tap.netns, tap.link, dhcpPorts.server)
    const socket = createSocket('udp4')
    const service: Service = { where, socket, lease, answered: 0, ignored: 0, failed: 0 }
    this.#services.set(id, service)
    socket.on('message', (packet) => {
      hear(service, packet)
    })
    socket.on('error', () => {
      service.failed += 1
    })
    socket.bind({ fd })
    // Guests' ports do not keep a process alive that has nothing else to do.
    socket.unref()
  }

  /** What a port's server has done so far; null when none serves it. */
  counts(id: string): DhcpCounts | null {
    const service = this.#services.get(id)
    if (service === undefined) return null
    const { answered, ignored, failed } = service
    return { answered, ignored, failed }
  }

  stop(id: string): void {
    this.#services.get(id)?.socket.close()
    this.#services.delete(id)
  }

  stopAll(): void {
    for (const id of [...this.#services.keys()]) this.stop(id)
  }
}

function hear(service: Service, packet: Buffer): void {
  const request = readRequest(packet)
  const reply = request === null ? null : answer(request, service.lease)
  if (reply === null) {
    service.ignored += 1
    return
  }
  service.answered += 1
  service.socket.send(reply.packet, dhcpPorts.client, reply.to, (error) => {
    if (error !== null) service.failed += 1
  })
}
