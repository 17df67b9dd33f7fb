/** The operator's command. Every verb is a file below `rack/`; here are only names and options. */
import { resolve } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import { documentOf } from '#actors/http/openapi.ts'
import { aboutExternal } from '#actors/nexus/api/contract/about.ts'
import { routes } from '#actors/nexus/routes.ts'
import { explain } from '#runtime/result.ts'
import { processTerminal } from '#runtime/terminal.ts'
import { checkJournal, salvageJournal } from './rack/journal.ts'
import { listCertificates, revokeHost } from './rack/certificates.ts'
import { rackDown } from './rack/down.ts'
import { defaultState } from './rack/plan.ts'
import { rackMetrics, rackTop, rackWhy } from './rack/seeing.ts'
import { rackStatus } from './rack/status.ts'
import { rackUp } from './rack/up.ts'
import { listZones, printLog } from './rack/zones.ts'

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
    const result = await rackStatus(resolve(options.state), options.json === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('down')
  .description('stop the rack and remove everything it made, also after a crash')
  .addOption(stateOption())
  .option('--keep-state', 'keep volumes, journal and store, so that the next up goes on with them')
  .action(async (options: { state: string; keepState?: boolean }) => {
    const result = await rackDown(resolve(options.state), options.keepState === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('certificates')
  .description('who has a certificate of the rack, until when, and which were revoked')
  .addOption(stateOption())
  .option('--json', 'print one line of JSON')
  .action(async (options: { state: string; json?: boolean }) => {
    const result = await listCertificates(resolve(options.state), options.json === true)
    if (!result.ok) throw new Refusal(result.detail)
  })

rack
  .command('revoke')
  .description('revoke the certificates of a host; one of the rack gets a new key')
  .argument('<host>', 'an id that `luge rack certificates` shows')
  .addOption(stateOption())
  .action(async (host: string, options: { state: string }) => {
    const result = await revokeHost(resolve(options.state), host)
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('zone')
  .description('zones of this machine')
  .command('list')
  .addOption(stateOption())
  .action(async (options: { state: string }) => {
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
    const result = await rackTop(processTerminal(), resolve(options.state), { once, json })
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('metrics')
  .description('what the rack counts, as Prometheus reads it')
  .addOption(stateOption())
  .action(async (options: { state: string }) => {
    const result = await rackMetrics(processTerminal(), resolve(options.state))
    if (!result.ok) throw new Refusal(result.detail)
  })

luge
  .command('why')
  .description('who waits for whom, and what the last one waits for')
  .argument('[name]', 'an actor, a call, or a part of a name; without it, all that is stuck')
  .addOption(stateOption())
  .action(async (name: string | undefined, options: { state: string }) => {
    const result = await rackWhy(processTerminal(), resolve(options.state), name ?? null)
    if (!result.ok) throw new Refusal(result.detail)
  })

const journal = luge.command('journal').description('the durable memory of a sled, as a file')
const journalFile = 'the file, as in <state>/sled1/journal.sqlite'

journal
  .command('check')
  .description('read all of a journal without changing it, and say whether it is sound')
  .argument('<file>', journalFile)
  .action((file: string) => {
    checkJournal(resolve(file))
  })

journal
  .command('recover')
  .description('make a sound journal of all that can be read, and keep the old file beside it')
  .argument('<file>', journalFile)
  .action((file: string) => {
    salvageJournal(resolve(file))
  })

luge
  .command('openapi')
  .description('print the OpenAPI document of the API')
  .action(() => {
    process.stdout.write(`${JSON.stringify(documentOf(routes, aboutExternal), null, 2)}\n`)
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
