/** Failures are values of a closed set: what the compiler must refuse. Checked by `tsc`; never run. */
import { err, ok, type Result } from '#runtime/result.ts'

declare const result: Result<number, 'absent' | 'broken'>

if (!result.ok) {
  // @ts-expect-error a code that is not in the set
  if (result.error === 'brokne') throw new Error('unreachable')
  // @ts-expect-error a failure has no value
  void result.value
}

// @ts-expect-error a failure of one set is not one of a smaller set
result satisfies Result<number, 'absent'>
result satisfies Result<number, 'absent' | 'broken' | 'late'>

// @ts-expect-error every failure says what happened
err('absent')
// @ts-expect-error results are not changed after they are made
ok({ a: 1 }).value = { a: 2 }
