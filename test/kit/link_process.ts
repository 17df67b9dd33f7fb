/** One host of `link_host.ts` as a process: `link_process.ts '{"host":…}'`, ordered about by its parent. */
import { connector } from '#runtime/wire/links.ts'
import { linkHost, type Order, type ProcessGiven, type Told } from './link_host.ts'

const given = JSON.parse(process.argv[2] ?? '{}') as ProcessGiven
const tell = (told: Told): void => {
  process.send?.(told)
}
const host = await linkHost(given, (peer, isUp) => {
  tell({ told: 'peer', peer, isUp })
})
process.on('message', ({ number, to, row, timeout_ms }: Order) => {
  void host.ask(to, row, timeout_ms).then((answer) => {
    tell({ told: 'answer', number, answer })
  })
})
process.once('disconnect', () => process.exit(0))
if (given.listen !== null) await host.links.listen(given.listen)
if (given.dial !== null) {
  const { host: to, address, port } = given.dial
  host.links.dial(to, connector({ host: address, port }))
}
tell({ told: 'ready' })
