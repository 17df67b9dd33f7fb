/** A thread that runs seeds, one after the other, as `main.ts` hands them out. */
import { parentPort } from 'node:worker_threads'
import { simulate } from './run.ts'

parentPort?.on('message', (seed: number) => {
  void simulate(seed).then((outcome) => {
    parentPort?.postMessage(outcome)
  })
})
