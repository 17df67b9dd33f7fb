/** pipe2(2), fcntl(2) and write(2): the bells that wake sleeping threads. */
import koffi from 'koffi'
import type { Pipe, Pipes } from '#runtime/thread/bell.ts'

const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const F_DUPFD_CLOEXEC = 1030

/** The calls of libc that pipes need. Throws when the platform has no libc of this name. */
export function makePipes(): Pipes {
  const libc = koffi.load('libc.so.6')
  const pipe2 = libc.func('int pipe2(_Out_ int *fds, int flags)')
  const fcntl = libc.func('int fcntl(int fd, int command, int argument)')
  const write = libc.func('long write(int fd, const void *bytes, size_t count)')
  const byte = Buffer.of(1)
  return {
    make: (): Pipe => {
      const fds = [-1, -1]
      if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) !== 0) throw failed('pipe2')
      const [read_fd = -1, write_fd = -1] = fds
      return { read_fd, write_fd }
    },
    duplicate: (fd) => {
      const made: unknown = fcntl(fd, F_DUPFD_CLOEXEC, 0)
      if (typeof made !== 'number' || made < 0) throw failed('fcntl F_DUPFD_CLOEXEC')
      return made
    },
    // A full pipe wakes as well as one more byte would.
    poke: (fd) => {
      write(fd, byte, 1)
    },
  }
}

const failed = (call: string): Error => new Error(`${call} failed with errno ${koffi.errno()}`)
