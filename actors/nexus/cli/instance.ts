/** `oxide instance`. */
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import type { Client } from './client.ts'
import {
  byteCount,
  confirmFlag,
  done,
  formatFlag,
  integer,
  type Input,
  type Noun,
  type Outcome,
  type Verb,
} from './command.ts'
import { begin, listVerb, objectPath, scopeFlags, viewVerb } from './crud.ts'
import { disks, instances } from './kinds.ts'
import { createVerb, deleteVerb, type Extra } from './named.ts'
import { serialVerb } from './serial.ts'
import { confirm, printMany, textOrAsk, type Session } from './session.ts'
import { textOf } from './value.ts'

const nameArgument = { name: 'name', summary: 'its name' } as const

const extra: Extra = {
  flags: [
    { flags: '-H, --hostname <name>', summary: "the guest's hostname (its name)" },
    { flags: '-m, --memory <bytes>', summary: 'its memory: bytes, or such as 1GiB' },
    { flags: '-c, --ncpus <count>', summary: 'its CPUs' },
    { flags: '--disk <name>', summary: 'attach a disk; the first one boots', many: true },
    { flags: '--ephemeral-ip', summary: 'give it an external address' },
    { flags: '--user-data <file>', summary: 'for cloud-init' },
    { flags: '--no-start', summary: 'leave it stopped' },
  ],
  body: async (session, input, { name }) => {
    const memoryText = await textOrAsk(
      session,
      input.text('memory'),
      'instance memory:',
      '-m|--memory',
    )
    if (!memoryText.ok) return memoryText
    const memory = byteCount('memory', memoryText.value)
    if (!memory.ok) return memory
    const ncpus = await cpusOf(session, input)
    if (!ncpus.ok) return ncpus
    const userData = userDataOf(session, input)
    if (!userData.ok) return userData
    return ok({
      hostname: input.text('hostname') ?? name,
      memory: memory.value,
      ncpus: ncpus.value,
      disks: input.all('disk').map((disk) => ({ type: 'attach', name: disk })),
      external_ips: input.has('ephemeral-ip') ? [{ type: 'ephemeral' }] : [],
      user_data: userData.value,
      start: !input.has('no-start'),
    })
  },
}

async function cpusOf(session: Session, input: Input): Promise<Result<number, 'usage' | 'failed'>> {
  const text = await textOrAsk(session, input.text('ncpus'), 'instance ncpus:', '-c|--ncpus')
  return text.ok ? integer('ncpus', text.value, { min: 1, max: 65_535 }) : text
}

function userDataOf(session: Session, input: Input): Result<string, 'failed'> {
  const path = input.text('user-data')
  if (path === null) return ok('')
  const file = session.terminal.readFile(path)
  return file.ok ? ok(Buffer.from(file.value).toString('base64')) : err('failed', file.detail)
}

interface Deed {
  readonly name: 'start' | 'stop' | 'reboot'
  readonly target: 'running' | 'stopped'
  readonly confirms: boolean
  readonly told: string
  readonly icon: '✔' | '✘'
}

/** `start`, `stop` and `reboot`: ask, then wait until it is so. */
function deedVerb(deed: Deed): Verb {
  return {
    name: deed.name,
    summary: `${deed.name} an instance and wait until it is ${deed.target}`,
    args: [nameArgument],
    flags: [...scopeFlags(instances), ...(deed.confirms ? [confirmFlag] : [])],
    run: async (session, input) => {
      const name = input.text('name') ?? ''
      const agreed = deed.confirms ? await confirm(session, input, name, deed.name) : done
      if (!agreed.ok) return agreed
      const started = begin(session, instances, input)
      if (!started.ok) return started
      const { client, scope } = started.value
      const where = objectPath({ ...instances, byId: null }, scope, name)
      const asked = await client.call('POST', `${where}/${deed.name}`)
      if (!asked.ok) return asked
      const reached = await waitFor(session, client, { where, name, state: deed.target })
      if (!reached.ok) return reached
      const icon = session.paint.green(deed.icon)
      const project = `${scope.organization}/${scope.project}`
      await session.say(`${icon} ${deed.told} instance ${name} in ${project}`)
      return done
    },
  }
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const
const clearLine = '\r\u001b[K'

/** Looks at an instance again and again until it is in a state, or can no longer get there. */
async function waitFor(
  session: Session,
  client: Client,
  goal: { readonly where: string; readonly name: string; readonly state: string },
): Promise<Outcome> {
  const { clock, stderr_is_terminal, writeError } = session.terminal
  const show = (text: string): void => {
    if (stderr_is_terminal) writeError(clearLine + text)
  }
  const end_ms = clock.now() + limits.cli_wait_ms_max
  for (let turn = 0; clock.now() < end_ms; turn += 1) {
    const found = await client.call('GET', goal.where)
    const state = found.ok ? textOf(found.value, 'run_state') : null
    if (!found.ok || state === goal.state || state === 'failed' || state === 'destroyed') {
      show('')
      if (!found.ok) return found
      if (state === goal.state) return done
      return err('failed', `✘ Instance ${goal.name} is ${state} and will not be ${goal.state}`)
    }
    const frame = frames[turn % frames.length] ?? ''
    show(`${frame} Waiting for instance status to be \`${goal.state}\` [${state ?? 'unknown'}]`)
    await clock.sleep(limits.cli_wait_poll_ms)
  }
  show('')
  const waited = `${limits.cli_wait_ms_max / 1000} s`
  return err('failed', `✘ Instance ${goal.name} is still not ${goal.state} after ${waited}`)
}

const disksVerb: Verb = {
  name: 'disks',
  summary: 'list the disks attached to an instance',
  args: [nameArgument],
  flags: [...scopeFlags(instances), formatFlag],
  run: async (session, input) => {
    const started = begin(session, instances, input)
    if (!started.ok) return started
    const { client, scope } = started.value
    const where = objectPath({ ...instances, byId: null }, scope, input.text('name') ?? '')
    const page = { limit: limits.instance_disks_max, sort_by: null, all: true }
    const rows = await client.list(`${where}/disks`, page)
    return rows.ok ? await printMany(session, input, disks.columns, rows.value) : rows
  },
}

const editVerb: Verb = {
  name: 'edit',
  summary: 'not there yet',
  args: [{ ...nameArgument, optional: true }],
  flags: scopeFlags(instances),
  run: async (session) => {
    await session.say('Not implemented yet in omicron.')
    return done
  },
}

const start = {
  name: 'start',
  target: 'running',
  confirms: false,
  told: 'Started',
  icon: '✔',
} as const
const stop = {
  name: 'stop',
  target: 'stopped',
  confirms: true,
  told: 'Stopped',
  icon: '✘',
} as const
const reboot = {
  name: 'reboot',
  target: 'running',
  confirms: true,
  told: 'Rebooted',
  icon: '✔',
} as const

export const instance: Noun = {
  name: 'instance',
  aliases: ['instances'],
  summary: 'instances of a project',
  verbs: [
    createVerb(instances, extra),
    listVerb(instances),
    viewVerb(instances),
    editVerb,
    deedVerb(start),
    deedVerb(stop),
    deedVerb(reboot),
    disksVerb,
    serialVerb,
    deleteVerb(instances),
  ],
}
