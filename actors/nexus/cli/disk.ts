/** `oxide disk`. */
import { err, ok, type Result } from '#runtime/result.ts'
import { path } from './client.ts'
import { byteCount, done, integer, type Input, type Noun, type Verb } from './command.ts'
import { begin, isId, listVerb, objectPath, scopeFlags, viewVerb } from './crud.ts'
import { disks, instances } from './kinds.ts'
import { createVerb, deleteVerb, type Extra } from './named.ts'
import { textOrAsk, type Session } from './session.ts'
import { textOf, type Fields } from './value.ts'

const blockSizeDefault = '512'

const extra: Extra = {
  flags: [
    { flags: '-s, --size <bytes>', summary: 'its size: bytes, or such as 1GiB' },
    { flags: '--image <name or id>', summary: 'copy a global image' },
    { flags: '--snapshot <id>', summary: 'copy a snapshot' },
    { flags: '--block-size <bytes>', summary: `of a blank disk (${blockSizeDefault})` },
  ],
  body: async (session, input) => {
    const text = await textOrAsk(session, input.text('size'), 'disk size:', '-s|--size')
    if (!text.ok) return text
    const size = byteCount('size', text.value)
    if (!size.ok) return size
    const source = await sourceOf(session, input)
    return source.ok ? ok({ size: size.value, disk_source: source.value }) : source
  },
}

async function sourceOf(
  session: Session,
  input: Input,
): Promise<Result<Fields, 'usage' | 'failed'>> {
  const image = input.text('image')
  const snapshot = input.text('snapshot')
  const given = [image, snapshot, input.text('block-size')].filter((text) => text !== null)
  if (given.length > 1) {
    return err('usage', 'a disk has one source: give only one of --image, --snapshot, --block-size')
  }
  if (snapshot !== null) return ok({ type: 'snapshot', snapshot_id: snapshot })
  if (image === null) {
    const bounds = { min: 1, max: Number.MAX_SAFE_INTEGER }
    const blockSize = integer('block-size', input.text('block-size') ?? blockSizeDefault, bounds)
    return blockSize.ok ? ok({ type: 'blank', block_size: blockSize.value }) : blockSize
  }
  if (isId(image)) return ok({ type: 'global_image', image_id: image })
  const client = session.client()
  if (!client.ok) return client
  const found = await client.value.call('GET', path`/system/images/${image}`)
  if (!found.ok) return found
  return ok({ type: 'global_image', image_id: textOf(found.value, 'id') })
}

/** `attach` and `detach`: the same but for their words. */
function connectVerb(name: 'attach' | 'detach', told: string): Verb {
  return {
    name,
    summary: `${name} a disk ${name === 'attach' ? 'to' : 'from'} a stopped instance`,
    args: [
      { name: 'disk', summary: 'the disk' },
      { name: 'instance', summary: 'the instance' },
    ],
    flags: scopeFlags(disks),
    run: async (session, input) => {
      const [disk, instance] = [input.text('disk') ?? '', input.text('instance') ?? '']
      const started = begin(session, disks, input)
      if (!started.ok) return started
      const { client, scope } = started.value
      const target = `${objectPath({ ...instances, byId: null }, scope, instance)}/disks/${name}`
      const answer = await client.call('POST', target, { name: disk })
      if (!answer.ok) return answer
      const where = `instance ${instance} in project ${scope.organization}/${scope.project}`
      await session.say(`${session.paint.green('✔')} ${told.replace('%', disk)} ${where}`)
      return done
    },
  }
}

export const disk: Noun = {
  name: 'disk',
  aliases: ['disks'],
  summary: 'disks of a project',
  verbs: [
    createVerb(disks, extra),
    listVerb(disks),
    viewVerb(disks),
    deleteVerb(disks),
    connectVerb('attach', 'Attached disk % to'),
    connectVerb('detach', 'Detached disk % from'),
  ],
}
