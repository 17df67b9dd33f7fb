/** Those who wait for an actor of the same thread. Actors share no memory: what crosses is copied. */
import { Caller } from './caller.ts'
import type { Asker, Message, Answer } from './message.ts'
import { ok } from './result.ts'

export class LocalCall extends Caller implements Asker {
  /** Set by whoever delivers it. */
  message: Message | null = null

  settle(message: Message, answer: Answer): void {
    if (!this.isWaiting) {
      message.cell.services.late(`${message.cell.name} ${message.row.name}: nobody waits`)
      return
    }
    this.finish(answer.ok ? ok(message.row.reply.copy(answer.value)) : answer)
  }

  protected override cancel(): void {
    this.message?.cancel('the caller gave up')
  }
}
