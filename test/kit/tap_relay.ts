/**
 * Carries frames between two taps, given as descriptors 3 and 4: the cable between a guest's port
 * and the namespace that plays the guest. Frames keep their virtio-net header, both taps have one.
 */
import { read, write } from 'node:fs'

const frame_bytes_max = 70_000

function pump(from: number, to: number): void {
  const buffer = Buffer.alloc(frame_bytes_max)
  const next = (): void => {
    read(from, buffer, 0, buffer.length, null, (error, length) => {
      if (error !== null) process.exit(1)
      // A link that is down takes nothing: the frame is lost, as on a cable.
      write(to, buffer, 0, length, null, next)
    })
  }
  next()
}

pump(3, 4)
pump(4, 3)
