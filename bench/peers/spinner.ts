/** Keeps a core busy until its standard input ends: the load of an oversubscribed machine. */
import { serveNothing, serveOrders } from './orders.ts'

const slice_ms = 5

function spin(): void {
  const until = performance.now() + slice_ms
  while (performance.now() < until);
  setImmediate(spin)
}

spin()
await serveOrders(serveNothing)
