/** Erlang/OTP: processes of one node, or of two nodes that are connected. */
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import type { Entrant } from '../contestant.ts'
import { assemble, freePort, missing, Program } from './program.ts'

const source = fileURLToPath(new URL('luge_bench', import.meta.url))
/** Two threads on our side, two schedulers on theirs; room for many idle processes. */
const machine = ['-noshell', '+S', '2:2', '+P', '2000000']

/** A node that does what `luge_bench.erl` does with these words. */
export function erlang(name: string, ...words: readonly string[]): Entrant {
  const open = async () =>
    await assemble(async (started) => {
      const node = started(erl([], words))
      await node.ready()
      return node
    })
  return { name, obstacle: () => missing('erl'), open }
}

/** Calls from one node to another over their one connection, on loopback. */
export function erlangDistribution(name: string, shape: string, outstanding: number): Entrant {
  const open = async () =>
    await assemble(async (started) => {
      const distribution = ofNodes(await freePort(), randomUUID())
      const server = 'luge_server@127.0.0.1'
      await started(erl(['-name', server, ...distribution], ['idle'])).ready()
      const client = started(
        erl(
          ['-name', 'luge_client@127.0.0.1', '-dist_listen', 'false', ...distribution],
          ['distribution', shape, String(outstanding), '1000', server],
        ),
      )
      await client.ready()
      return client
    })
  return { name, obstacle: () => missing('erl'), open }
}

/** With a port that both know, nodes need no epmd: nothing is registered, nothing stays behind. */
const ofNodes = (port: number, cookie: string): readonly string[] => [
  ...['-setcookie', cookie, '-start_epmd', 'false', '-erl_epmd_port', String(port)],
  ...['-kernel', 'inet_dist_use_interface', '{127,0,0,1}'],
]

/** Compiles the module in memory and runs it. */
function erl(flags: readonly string[], words: readonly string[]): Program {
  const compiled = `{ok, M, B} = compile:file(${JSON.stringify(source)}, [binary, report])`
  const list = words.map((word) => JSON.stringify(word)).join(', ')
  const run = `${compiled}, {module, M} = code:load_binary(M, "luge_bench", B), M:start([${list}]).`
  return new Program('erl', [...machine, ...flags, '-eval', run])
}
