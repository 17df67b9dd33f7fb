/** `oxide project`. */
import type { Noun } from './command.ts'
import { listVerb, viewVerb } from './crud.ts'
import { projects } from './kinds.ts'
import { createVerb, deleteVerb, editVerb } from './named.ts'

export const project: Noun = {
  name: 'project',
  aliases: ['projects'],
  summary: 'projects of an organization',
  verbs: [
    createVerb(projects),
    listVerb(projects),
    viewVerb(projects),
    editVerb(projects),
    deleteVerb(projects),
  ],
}
