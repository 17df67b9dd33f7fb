/** Entry of the `oxide` command: this process, handed to `actors/nexus/cli`. */
import { readFileSync } from 'node:fs'
import { runOxide } from '#actors/nexus/cli/program.ts'
import { textOf } from '#actors/nexus/cli/value.ts'
import { processTerminal } from '#runtime/terminal.ts'
import { explain } from '#runtime/result.ts'

const packageFile = new URL('../../package.json', import.meta.url)
const version = textOf(JSON.parse(readFileSync(packageFile, 'utf8')), 'version') ?? ''

// `oxide … | head` ends when head has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

try {
  process.exitCode = await runOxide(processTerminal(), process.argv.slice(2), version)
} catch (error) {
  process.stderr.write(`✘ This is a fault of the command itself: ${explain(error)}\n`)
  process.exitCode = 70
}
