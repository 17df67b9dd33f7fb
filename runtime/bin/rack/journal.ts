/** `luge journal check` and `luge journal recover`; what is wrong is thrown as a JournalFault. */
import { inspectJournal } from '#runtime/journal/file.ts'
import { recoverJournal } from '#runtime/journal/recover.ts'

export function checkJournal(path: string): void {
  const { last_row, streams } = inspectJournal(path)
  process.stdout.write(`${path} is sound: ${streams.size} streams, ${last_row} commits\n`)
}

export function salvageJournal(path: string): void {
  const recovered = recoverJournal(path)
  if (recovered === null) {
    process.stdout.write(`${path} is sound: there is nothing to recover\n`)
    return
  }
  const { why, commits, streams, lost, aside } = recovered
  process.stdout.write(`${why}\n`)
  process.stdout.write(`kept: ${streams} streams, ${commits} commits that could be read\n`)
  for (const sentence of lost) process.stdout.write(`lost: ${sentence}\n`)
  process.stdout.write(`${path} is sound now; the old file is ${aside}\n`)
}
