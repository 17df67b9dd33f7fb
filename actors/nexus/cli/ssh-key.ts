/** `oxide ssh-key`: the keys that new instances let in. */
import { err, ok } from '#runtime/result.ts'
import type { Noun } from './command.ts'
import { listVerb, viewVerb } from './crud.ts'
import { sshKeys } from './kinds.ts'
import { createVerb, deleteVerb, type Extra } from './named.ts'
import { textOrAsk } from './session.ts'

const usualKey = '.ssh/id_ed25519.pub'

const extra: Extra = {
  flags: [
    { flags: '-k, --public-key <text>', summary: 'the key itself: ssh-ed25519 AAAA…' },
    { flags: '--file <path>', summary: `the key's file, such as ~/${usualKey}` },
  ],
  body: async (session, input) => {
    const path = input.text('file')
    const given = input.text('public-key')
    if (path !== null && given !== null) {
      return err('usage', 'give the key by --public-key or by --file, not by both')
    }
    if (path !== null) {
      const file = session.terminal.readFile(path)
      if (!file.ok) return err('failed', file.detail)
      return ok({ public_key: new TextDecoder().decode(file.value).trim() })
    }
    const key = await textOrAsk(session, given, 'SSH key public key:', '-k|--public-key or --file')
    return key.ok ? ok({ public_key: key.value.trim() }) : key
  },
}

export const sshKey: Noun = {
  name: 'ssh-key',
  aliases: ['ssh-keys'],
  summary: 'your SSH keys',
  verbs: [createVerb(sshKeys, extra), listVerb(sshKeys), viewVerb(sshKeys), deleteVerb(sshKeys)],
}
