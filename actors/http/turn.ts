/**
 * Responses of one turn of the event loop are written together, at its end. A write wakes its reader and
 * runs the kernel's side of the connection; between one request's work and the next one's it costs twice
 * what it costs beside other writes.
 */
let end: Promise<void> | null = null

/** Ends when everything that came in this turn has been worked on, as far as it needs nothing else. */
export async function endOfTurn(): Promise<void> {
  end ??= new Promise((resolve) => {
    setImmediate(() => {
      end = null
      resolve()
    })
  })
  await end
}
