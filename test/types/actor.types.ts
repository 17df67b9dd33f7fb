/** What the compiler must refuse, shown by expecting it to. Checked by `tsc`; never run. */
import type { diskProtocol } from '#actors/disk.protocol.ts'
import { zoneProtocol } from '#actors/zone.protocol.ts'
import { behaviour, type ChildSpec, type Ref, type RefMaker } from '#runtime/actor/actor.ts'
import { call, nothing, protocol, type Failure } from '#runtime/actor/protocol.ts'
import { err, ok, type Result } from '#runtime/result.ts'

declare const ref: Ref<typeof diskProtocol>
declare const makeRef: RefMaker
declare const child: ChildSpec
const soon = { timeout_ms: 1 }
const size_bytes = 1
const disk = { id: 'd', size_bytes, block_size: 512, source: null } as const
const view = { id: 'd', size_bytes, phase: 'ready', instance_id: null } as const

// @ts-expect-error no such message
void ref.call('ensur', disk, soon)
// @ts-expect-error the request lacks fields
void ref.call('ensure', { id: 'd' }, soon)
// @ts-expect-error a block size that no disk has
void ref.call('ensure', { ...disk, block_size: 513 }, soon)
// @ts-expect-error every call says how long it waits
void ref.call('get', null, {})
// @ts-expect-error a call without options waits for ever
void ref.call('get', null)
// @ts-expect-error a ref speaks its actor's protocol, not another's
void makeRef(zoneProtocol, 'oxz_x').call('get_disk', null, soon)

const result = await ref.call('get', null, soon)
// @ts-expect-error there is no value until `ok` was looked at
void result.value
if (result.ok) {
  // @ts-expect-error a reply has the fields of its schema and no others
  void result.value.colour
} else {
  switch (result.error) {
    case 'busy':
    case 'deadline':
    case 'cancelled':
    case 'unreachable':
    case 'crashed':
    case 'unsupported':
    case 'invalid':
      break
    default:
      // Every way that a delivery can fail is named above: nothing is left.
      result.error satisfies never
  }
}

// @ts-expect-error every row names its failures, also when there are none
call(1, { request: nothing, reply: nothing })

const lamp = protocol('lamp', 1, {
  light: call(1, { request: nothing, reply: nothing, errors: ['no_oil'] }),
  quench: call(2, { request: nothing, reply: nothing, errors: [] }),
})
type Light = Failure<typeof lamp, 'light'>
type Quench = Failure<typeof lamp, 'quench'>
'no_oil' satisfies Light
// @ts-expect-error a failure that the row does not name
'no_match' satisfies Light
// @ts-expect-error a row without failures has none
'no_oil' satisfies Quench

const common = {
  protocol: lamp,
  child,
  init: () => ({ lit: false }),
  invariant: () => {},
}
type Step<E extends string> = { state: { lit: boolean }; result: Result<null, E> }
const done = (): Step<never> => ({ state: { lit: false }, result: ok(null) })

void behaviour({ ...common, handlers: { light: done, quench: done } })
void behaviour({
  ...common,
  // @ts-expect-error a handler is missing
  handlers: { light: done },
})
void behaviour({
  ...common,
  handlers: {
    light: (): Step<'no_oil'> => ({ state: { lit: false }, result: err('no_oil', 'it is empty') }),
    // @ts-expect-error `quench` declares no failures
    quench: (): Step<'no_oil'> => ({ state: { lit: false }, result: err('no_oil', 'it is empty') }),
  },
})
void behaviour({
  ...common,
  handlers: {
    light: done,
    // @ts-expect-error the reply is nothing, not a disk
    quench: () => ({ state: { lit: false }, result: ok(view) }),
  },
})
void behaviour({
  ...common,
  handlers: {
    light: done,
    // @ts-expect-error the state is the one that `init` makes
    quench: () => ({ state: { lit: 'no' }, result: ok(null) }),
  },
})
