/** The platform's backends for a sled, each made when a thread first asks: the one place of choice. */
import { join } from 'node:path'
import type { SledConfig } from '#config/sled.ts'
import { LinuxBlock } from '#native/linux/block.ts'
import { linuxPorts } from '#native/linux/ports.ts'
import { linuxVmm } from '#native/linux/vmm.ts'
import { LinuxZones } from '#native/linux/zone.ts'
import type { Block } from '#native/platform/block.ts'
import type { Ports, UnderlaySpec } from '#native/platform/ports.ts'
import type { Vmm } from '#native/platform/vmm.ts'
import type { Zones } from '#native/platform/zone.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { simVmm } from '#native/sim/vmm.ts'
import { SimZones } from '#native/sim/zone.ts'

type Platformed = Pick<SledConfig, 'platform' | 'state' | 'tag' | 'guest_image'>

export function makeBlock(config: Platformed): Block {
  return config.platform === 'sim'
    ? simBlock(join(config.state, 'volumes.json'))
    : new LinuxBlock({ state: config.state, guest_image: config.guest_image })
}

export function makeZones(config: Platformed): Zones {
  return config.platform === 'sim'
    ? new SimZones({ state: config.state })
    : new LinuxZones({ state: config.state, tag: config.tag })
}

export function makePorts(config: Platformed & Pick<SledConfig, 'underlay'>): Ports {
  return config.platform === 'sim'
    ? simPorts()
    : linuxPorts({ tag: config.tag, underlay: underlayOf(config) })
}

/** What the sled has whatever guests come. */
export const underlayOf = ({ underlay }: Pick<SledConfig, 'underlay'>): UnderlaySpec => ({
  ...underlay,
  rack: underlay.rack ?? null,
})

export function makeVmm(config: Platformed): Vmm {
  return config.platform === 'sim'
    ? simVmm({ state: config.state })
    : linuxVmm({ state: config.state, tag: config.tag })
}
