/**
 * Makes or removes a port in a process of its own and dies by SIGKILL just before the given change
 * of the kernel's state: what a power cut leaves, step by step. Ends with 0 when no change is left.
 *
 *   node crash_port.ts '{"tag":…,"underlay":…,"spec":…,"control":…,"mappings":…}' ensure|remove STEP
 */
import { linuxPorts } from '#native/linux/ports.ts'
import type { ControlSpec, PortSpec, UnderlaySpec, V2pMapping } from '#native/platform/ports.ts'

const [, , what = '{}', verb, at] = process.argv
const given = JSON.parse(what) as {
  readonly tag: string
  readonly underlay: UnderlaySpec
  readonly spec: PortSpec
  readonly control: ControlSpec
  readonly mappings: readonly V2pMapping[]
}
let step = 0
const ports = linuxPorts({
  tag: given.tag,
  underlay: given.underlay,
  trace: () => {
    if (step === Number(at)) process.kill(process.pid, 'SIGKILL')
    step += 1
  },
})
const results =
  verb === 'ensure'
    ? [
        ports.ensureControl(given.control),
        ports.ensurePort(given.spec),
        ports.setV2p(given.spec.vni, given.mappings),
      ]
    : [ports.remove(given.spec.id), ports.remove(given.control.id)]
for (const result of results) if (!result.ok) throw new Error(result.detail)
ports.close()
