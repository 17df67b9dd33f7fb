/** `oxide config`: the keys of config.toml. */
import { err, type Result, ok } from '#runtime/result.ts'
import { done, type Noun, type Verb } from './command.ts'
import { formats } from './render.ts'
import { configDefaults, isConfigKey, readConfig, writeConfig, type ConfigKey } from './settings.ts'

const keys = Object.keys(configDefaults).filter(isConfigKey)
const choices: Partial<Readonly<Record<ConfigKey, readonly string[]>>> = {
  prompt: ['enabled', 'disabled'],
  format: formats,
}
const keyArgument = { name: 'key', summary: keys.join(', ') } as const

function keyOf(text: string | null): Result<ConfigKey, 'usage'> {
  if (text !== null && isConfigKey(text)) return ok(text)
  return err('usage', `"${text ?? ''}" is no setting: they are ${keys.join(', ')}`)
}

const get: Verb = {
  name: 'get',
  summary: 'print a setting',
  args: [keyArgument],
  run: async (session, input) => {
    const key = keyOf(input.text('key'))
    if (!key.ok) return key
    const value = readConfig(session.terminal, key.value)
    if (!value.ok) return value
    await session.say(value.value)
    return done
  },
}

const set: Verb = {
  name: 'set',
  summary: 'change a setting',
  args: [keyArgument, { name: 'value', summary: 'its new value' }],
  run: async (session, input) => {
    const key = keyOf(input.text('key'))
    if (!key.ok) return key
    const value = input.text('value') ?? ''
    const allowed = choices[key.value]
    if (allowed !== undefined && !allowed.includes(value)) {
      return err('usage', `${key.value} must be one of ${allowed.join(', ')}, not "${value}"`)
    }
    return writeConfig(session.terminal, key.value, value)
  },
}

const list: Verb = {
  name: 'list',
  summary: 'print every setting',
  run: async (session) => {
    for (const key of keys) {
      const value = readConfig(session.terminal, key)
      if (!value.ok) return value
      await session.say(`${key}=${value.value}`)
    }
    return done
  },
}

export const config: Noun = {
  name: 'config',
  summary: 'how this command behaves',
  verbs: [get, set, list],
}
