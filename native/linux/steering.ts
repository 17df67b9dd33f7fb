/**
 * Steering: of an external address that guests share, the port (of a ping, its identifier) says which
 * of them is meant. Packets get a mark for it, by which they are routed.
 */
import { fillText, type Filling } from './nft_text.ts'

/** Two sets of maps: `own` for the ports of this sled, `told` for those of others. */
export type Steering = 'own' | 'told'

const prefix: Readonly<Record<Steering, string>> = { own: '', told: 'told_' }

/** A range of an address's ports, and the mark of what comes for it. */
export interface Share {
  readonly ip: string
  readonly first_port: number
  readonly last_port: number
  readonly mark: number
}

/** The maps, and the rules that look into them. Where a later one has an answer too, it counts. */
export const declareSteering = (which: Steering): string => `
add map inet luge ${prefix[which]}ports { typeof ip daddr . meta l4proto . th dport : meta mark; flags interval; }
add map inet luge ${prefix[which]}echoes { typeof ip daddr . icmp id : meta mark; flags interval; }
add map inet luge ${prefix[which]}errors { typeof ip daddr . @th,224,16 : meta mark; flags interval; }
add rule inet luge steer meta l4proto { tcp, udp } meta mark set ip daddr . meta l4proto . th dport map @${prefix[which]}ports
add rule inet luge steer icmp type echo-reply meta mark set ip daddr . icmp id map @${prefix[which]}echoes
add rule inet luge steer icmp type { destination-unreachable, time-exceeded, parameter-problem } meta mark set ip daddr . @th,224,16 map @${prefix[which]}errors
`

/** Fills the maps. */
export function steeringText(which: Steering, filling: Filling, shares: readonly Share[]): string {
  const ranged = shares.map(({ ip, first_port, last_port, mark }) => ({
    ip,
    range: `${first_port}-${last_port}`,
    mark,
  }))
  const flows = ranged.flatMap(({ ip, range, mark }) =>
    ['tcp', 'udp'].map((protocol) => `${ip} . ${protocol} . ${range} : ${mark}`),
  )
  const pings = ranged.map(({ ip, range, mark }) => `${ip} . ${range} : ${mark}`)
  return [
    fillText(`map ${prefix[which]}ports`, filling, flows),
    fillText(`map ${prefix[which]}echoes`, filling, pings),
    fillText(`map ${prefix[which]}errors`, filling, pings),
  ].join('')
}
