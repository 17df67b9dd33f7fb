/** What a simulated guest says while it boots: the same for the same instance (spec of 2022-11-11). */

const gerunds = [
  'Loading',
  'Reloading',
  'Advancing',
  'Reticulating',
  'Defeating',
  'Spoiling',
  'Cooking',
  'Destroying',
  'Resenting',
  'Introducing',
  'Reiterating',
  'Blasting',
  'Tolling',
  'Delivering',
  'Engendering',
  'Establishing',
] as const
const nouns = [
  'canon',
  'browsers',
  'meta',
  'splines',
  'villains',
  'plot',
  'books',
  'evidence',
  'decisions',
  'chaos',
  'points',
  'processors',
  'bells',
  'value',
  'gender',
  'shots',
] as const

const reset = '\u001b[0m'
const green = '\u001b[32m'
const clear = '\u001b[2J\u001b[H'

/** Boot messages, each with a green "0K", then a login prompt. */
export function bootText(instance_id: string): string {
  const hex = instance_id.replaceAll('-', '')
  const lines = [`This is simulated serial console output for ${instance_id}.`]
  for (let at = 0; at + 1 < hex.length; at += 2) {
    const gerund = gerunds[Number.parseInt(hex[at] ?? '0', 16)] ?? ''
    const noun = nouns[Number.parseInt(hex[at + 1] ?? '0', 16)] ?? ''
    const message = `${gerund} ${noun}...`
    lines.push(`${message.padEnd(60)}[ ${green}0K${reset} ]`)
  }
  return `${lines.join('\r\n')}\r\n${clear}OS/478 (localhorse) (ttyl)\r\n\r\nlocalhorse login: `
}
