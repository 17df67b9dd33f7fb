/** `oxide org`. */
import type { Noun } from './command.ts'
import { listVerb, viewVerb } from './crud.ts'
import { organizations } from './kinds.ts'
import { createVerb, deleteVerb, editVerb } from './named.ts'

export const org: Noun = {
  name: 'org',
  aliases: ['orgs', 'organization', 'organizations'],
  summary: 'organizations',
  verbs: [
    createVerb(organizations),
    listVerb(organizations),
    viewVerb(organizations),
    editVerb(organizations),
    deleteVerb(organizations),
  ],
}
