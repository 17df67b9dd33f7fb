/** The whole command line: the tree of nouns and verbs, joined to a parser. */
import { Command, CommanderError, Option } from 'commander'
import type { Terminal } from '#runtime/terminal.ts'
import { api } from './api.ts'
import { auth } from './auth.ts'
import { done, type Flag, type Input, type Noun, type Outcome, type Verb } from './command.ts'
import { config } from './config.ts'
import { disk } from './disk.ts'
import { instance } from './instance.ts'
import { image, rack, sled, vpc } from './look.ts'
import { org } from './org.ts'
import { project } from './project.ts'
import { openSession, type Session } from './session.ts'
import { sshKey } from './ssh-key.ts'

const nouns: readonly Noun[] = [
  auth,
  config,
  org,
  project,
  disk,
  instance,
  image,
  vpc,
  sshKey,
  rack,
  sled,
]

const version: Verb = {
  name: 'version',
  summary: 'print the version',
  run: async (session) => {
    await session.say(`oxide ${session.version}`)
    return done
  },
}

const verbs: readonly Verb[] = [api, version]

/**
 * Runs `oxide` with the words behind its name. Gives back the exit status: 0, 1 when the deed failed,
 * 2 when it was asked for wrongly.
 */
export async function runOxide(
  terminal: Terminal,
  words: readonly string[],
  productVersion: string,
): Promise<number> {
  const program = new Command('oxide')
  const session = openSession(terminal, productVersion, () => program.opts())
  const outcomes: Outcome[] = []
  build(program, session, (outcome) => void outcomes.push(outcome))
  try {
    await program.parseAsync(words, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    throw error
  } finally {
    await session.close()
  }
  const [outcome = done] = outcomes
  if (outcome.ok) return 0
  if (outcome.detail !== '') terminal.writeError(`${outcome.detail}\n`)
  return outcome.error === 'usage' ? 2 : 1
}

type Report = (outcome: Outcome) => void

function build(program: Command, session: Session, report: Report): void {
  const { terminal } = session
  program
    .description("The Oxide API's command line.")
    .version(`oxide ${session.version}`, '-V, --version')
    .option('--cacert <file>', 'trust only the certificates in this file (or: SSL_CERT_FILE)')
    .option('--insecure', 'take any certificate: for trying things out only')
    .option('--resolve <host:port:address>', 'reach a host of the API at this address')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.write(text),
      writeErr: (text) => terminal.writeError(text),
      outputError: (text, write) => write(`✘ ${sentence(text)}\n`),
    })
  // Sub-commands inherit the settings above when they are made, so these come last.
  for (const noun of nouns) {
    const group = program.command(noun.name).description(noun.summary)
    group.aliases([...(noun.aliases ?? [])])
    for (const verb of noun.verbs) addVerb(group, session, verb, report)
  }
  for (const verb of verbs) addVerb(program, session, verb, report)
}

/** The parser's complaint and its guess, as one line. */
function sentence(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replaceAll('\n', ' ')
}

function addVerb(group: Command, session: Session, verb: Verb, report: Report): void {
  const command = group.command(verb.name).description(verb.summary)
  const args = verb.args ?? []
  for (const { name, summary, optional } of args) {
    command.argument(optional === true ? `[${name}]` : `<${name}>`, summary)
  }
  const flags = (verb.flags ?? []).map((flag) => [flag, addFlag(command, flag)] as const)
  command.action(async () => {
    const given = new Map<string, readonly string[]>(
      args.map(({ name }, at) => [name, listOf(command.args[at])]),
    )
    for (const [flag, option] of flags) {
      const typed = listOf(command.getOptionValue(option.attributeName()))
      const standIn = flag.env === undefined ? null : session.terminal.env(flag.env)
      const isStandIn = typed.length === 0 && standIn !== null
      given.set(longName(flag), isStandIn ? [standIn] : typed)
    }
    report(await verb.run(session, inputOf(given)))
  })
}

function addFlag(command: Command, flag: Flag): Option {
  // The parser would take `--no-start` for a `--start` that is on unless told otherwise.
  const option = new Option(flag.flags, flag.summary)
  option.negate = false
  if (flag.choices !== undefined) option.choices([...flag.choices])
  if (flag.many === true) {
    option.argParser((value: string, before: unknown) => [...listOf(before), value])
  }
  command.addOption(option)
  return option
}

const longName = (flag: Flag): string => /--([a-z-]+)/.exec(flag.flags)?.[1] ?? flag.flags

/** What a parser's value comes to as words: a switch that is on is one empty word. */
function listOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.map(String)
  if (value === true) return ['']
  return typeof value === 'string' ? [value] : []
}

const inputOf = (given: ReadonlyMap<string, readonly string[]>): Input => ({
  text: (name) => given.get(name)?.[0] ?? null,
  has: (name) => (given.get(name) ?? []).length > 0,
  all: (name) => given.get(name) ?? [],
})
