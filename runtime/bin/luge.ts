/**
 * The operator's command. Every verb is a file below `rack/`, which is loaded when that verb runs; here are
 * only names and options.
 */
import { resolve } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import { explain } from '#runtime/result.ts'
import { processTerminal } from '#runtime/terminal.ts'
import { defaultState } from './rack/layout.ts'

/** Ends a verb with one sentence on stderr and exit code 1. */
class Refusal extends Error {}

const luge = new Command('luge')
  .description('A control plane for a rack of sleds.')
  .showHelpAfterError('(luge --help lists what there is)')
  .exitOverride()

const stateOption = () =>
  new Option('--state <dir>', 'where the rack keeps its state').default(defaultState())

const rack = luge.command('rack').description('bring a rack up, look at it, take it down')

rack
  .command('up')
  .description('start a rack on this machine, or go on with the one in the state directory')
  .addOption(
    new Option('--platform <name>', 'what the sled runs on')
      .choices(['auto', 'illumos', 'linux', 'sim'])
      .default('auto'),
  )
  .addOption(stateOption())
  .option('--external <address:port>', 'where the API is served')
  .option('--https <address:port>', 'where it is served over TLS as well')
  .option('--certificate <file>', "its certificate in PEM, with those behind it; else the guide's")
  .option('--key <file>', 'the key of --certificate')
  .option('--outside <netns>', 'path of the network namespace that stands for the outside')
  .option('--config <file>', 'rack profile to use instead of config/profiles/dev.json')
  .addOption(
    new Option('--store <url>', 'sqlite, or postgres://USER@HOST/DATABASE; a new rack has sqlite')
      // A URL with a password is better kept out of the command line, where everybody may read it.
      .env('LUGE_STORE'),
  )
  .option(
    '--nexus <number>',
    'members of Nexus, which share the store; more than one need PostgreSQL',
  )
  .option('--sleds <number>', 'sleds of the rack, all on this machine; several on sim only')
  .option('--detach', 'return once the rack serves, leaving it running')
  .option('--json', 'print one line of JSON when the rack serves')
  .action(async (options: UpFlags) => {
    const { rackUp } = await import('./rack/up.ts')
    const result = await rackUp({
      platform: options.platform,
      state: resolve(options.state),
      external: options.external ?? null,
      https: options.https ?? null,
      certificate: options.certificate ?? null,
      key: options.key ?? null,
      outside: options.outside ?? null,
      config: options.config ?? null,
      store: options.store ?? null,
      nexus: options.nexus ?? null,
      sleds: options.sleds ?? null,
      detach: options.detach === true,
      json: options.json === true,
    })
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('status')
  .description('what the rack has and how it is; exit code 1 when it does not serve')
  .addOption(stateOption())
  .option('--json', 'print one line of JSON')
  .action(async (options: { state: string; json?: boolean }) => {
    const { rackStatus } = await import('./rack/status.ts')
    const result = await rackStatus(resolve(options.state), options.json === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('down')
  .description('stop the rack and remove everything it made, also after a crash')
  .addOption(stateOption())
  .option('--keep-state', 'keep volumes, journal and store, so that the next up goes on with them')
  .action(async (options: { state: string; keepState?: boolean }) => {
    const { rackDown } = await import('./rack/down.ts')
    const result = await rackDown(resolve(options.state), options.keepState === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('certificates')
  .description('who has a certificate of the rack, until when, and which were revoked')
  .addOption(stateOption())
  .option('--json', 'print one line of JSON')
  .action(async (options: { state: string; json?: boolean }) => {
    const { listCertificates } = await import('./rack/certificates.ts')
    const result = await listCertificates(resolve(options.state), options.json === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('revoke')
  .description('revoke the certificates of a host; one of the rack gets a new key')
  .argument('<host>', 'an id that `luge rack certificates` shows')
  .addOption(stateOption())
  .action(async (host: string, options: { state: string }) => {
    const { revokeHost } = await import('./rack/certificates.ts')
    const result = await revokeHost(resolve(options.state), host)
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('zone')
  .description('zones of this machine')
  .command('list')
  .addOption(stateOption())
  .action(async (options: { state: string }) => {
    const { listZones } = await import('./rack/zones.ts')
    const result = await listZones(resolve(options.state))
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('logs')
  .description('print what a zone, or the supervisor itself, wrote')
  .argument(
    '<zone>',
    'a name that `luge zone list` shows, or `supervisor` (of the second sled: `supervisor2`)',
  )
  .addOption(stateOption())
  .action(async (zone: string, options: { state: string }) => {
    const { printLog } = await import('./rack/zones.ts')
    const result = await printLog(resolve(options.state), zone)
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('top')
  .description('what the rack does now: actors, messages, links, troubles; redrawn every second')
  .addOption(stateOption())
  .option('--once', 'print it once, as without a terminal')
  .option('--json', 'print it once, all that there is, as one line of JSON')
  .action(async (options: { state: string; once?: boolean; json?: boolean }) => {
    const { once = false, json = false } = options
    const { rackTop } = await import('./rack/seeing.ts')
    const result = await rackTop(processTerminal(), resolve(options.state), { once, json })
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('metrics')
  .description('what the rack counts, as Prometheus reads it')
  .addOption(stateOption())
  .action(async (options: { state: string }) => {
    const { rackMetrics } = await import('./rack/seeing.ts')
    const result = await rackMetrics(processTerminal(), resolve(options.state))
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('why')
  .description('who waits for whom, and what the last one waits for')
  .argument('[name]', 'an actor, a call, or a part of a name; without it, all that is stuck')
  .addOption(stateOption())
  .action(async (name: string | undefined, options: { state: string }) => {
    const { rackWhy } = await import('./rack/seeing.ts')
    const result = await rackWhy(processTerminal(), resolve(options.state), name ?? null)
    if (!result.ok) throw new Refusal(result.detail)
  })

const journal = luge.command('journal').description('the durable memory of a sled, as a file')
const journalFile = 'the file, as in <state>/sled1/journal.sqlite'

journal
  .command('check')
  .description('read all of a journal without changing it, and say whether it is sound')
  .argument('<file>', journalFile)
  .action(async (file: string) => {
    const { checkJournal } = await import('./rack/journal.ts')
    checkJournal(resolve(file))
  })

journal
  .command('recover')
  .description('make a sound journal of all that can be read, and keep the old file beside it')
  .argument('<file>', journalFile)
  .action(async (file: string) => {
    const { salvageJournal } = await import('./rack/journal.ts')
    salvageJournal(resolve(file))
  })

luge
  .command('openapi')
  .description('print the OpenAPI document of the API')
  .action(async () => {
    const { printDocument } = await import('./rack/openapi.ts')
    printDocument()
  })

interface UpFlags {
  readonly platform: string
  readonly state: string
  readonly external?: string
  readonly https?: string
  readonly certificate?: string
  readonly key?: string
  readonly outside?: string
  readonly config?: string
  readonly store?: string
  readonly nexus?: string
  readonly sleds?: string
  readonly detach?: boolean
  readonly json?: boolean
}

try {
  await luge.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode
  } else {
    process.stderr.write(`luge: ${explain(error)}\n`)
    process.exitCode = 1
  }
}
