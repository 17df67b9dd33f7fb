/** The caller: who they are, their groups, their ssh keys. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import { uuid, identity, named, page, publicKey } from '#actors/http/words.ts'

export const group = Type.Object(
  { display_name: Type.String(), id: uuid, silo_id: uuid },
  { component: 'Group' },
)

export const sshKey = Type.Object(
  { ...named, public_key: Type.String(), silo_user_id: uuid },
  { component: 'SshKey' },
)

export const sshKeyCreate = Type.Object(
  { ...identity, public_key: publicKey },
  { component: 'SshKeyCreate' },
)

export const user = Type.Object(
  { display_name: Type.String(), id: uuid, silo_id: uuid },
  { component: 'User' },
)

export const sessionOperations = {
  session_me: operation('GET /session/me', {
    tag: 'hidden',
    summary: 'Fetch the user associated with the current session',
    reply: user,
  }),
  session_me_groups: operation('GET /session/me/groups', {
    tag: 'hidden',
    summary: 'Fetch the silo groups the current user belongs to',
    page: 'id',
    reply: page(group),
  }),
  session_sshkey_list: operation('GET /session/me/sshkeys', {
    tag: 'session',
    summary: 'List SSH public keys',
    page: 'name',
    reply: page(sshKey),
  }),
  session_sshkey_create: operation('POST /session/me/sshkeys', {
    tag: 'session',
    summary: 'Create an SSH public key',
    body: sshKeyCreate,
    reply: sshKey,
  }),
  session_sshkey_view: operation('GET /session/me/sshkeys/{ssh_key_name}', {
    tag: 'session',
    summary: 'Fetch an SSH public key',
    reply: sshKey,
  }),
  session_sshkey_delete: operation('DELETE /session/me/sshkeys/{ssh_key_name}', {
    tag: 'session',
    summary: 'Delete an SSH public key',
    reply: 'nothing',
  }),
}
