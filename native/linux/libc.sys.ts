/** The C library's calls that Linux backends need, as they are declared in the headers. */
import koffi from 'koffi'

const libc = koffi.load('libc.so.6')

export const c = {
  bind: libc.func('int bind(int fd, const void *address, unsigned int length)'),
  close: libc.func('int close(int fd)'),
  // ioctl and open are variadic in C; on this ABI a fixed third argument is passed the same way.
  ioctl: libc.func('int ioctl(int fd, unsigned long request, void *argument)'),
  ioctlValue: libc.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']),
  listen: libc.func('int listen(int fd, int backlog)'),
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
  ),
  open: libc.func('int open(const char *path, int flags, int mode)'),
  recv: libc.func('long recv(int fd, void *buffer, size_t length, int flags)'),
  send: libc.func('long send(int fd, const void *buffer, size_t length, int flags)'),
  sendto: libc.func(
    'long sendto(int fd, const void *buffer, size_t length, int flags, const void *address, unsigned int address_length)',
  ),
  setns: libc.func('int setns(int fd, int type)'),
  setsockopt: libc.func(
    'int setsockopt(int fd, int level, int option, const void *value, unsigned int length)',
  ),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  unshare: libc.func('int unshare(int flags)'),
} as const

/** The error number of the call just made on this thread; read it before anything is awaited. */
export const errno = (): number => koffi.errno()

export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const AF_PACKET = 17
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_BROADCAST = 6
export const SO_BINDTODEVICE = 25
export const IPPROTO_IPV6 = 41
export const IPV6_V6ONLY = 26
export const O_RDONLY = 0
export const O_RDWR = 2
export const O_CLOEXEC = 0o2000000
export const CLONE_NEWNET = 0x40000000
export const MS_BIND = 4096
export const MNT_DETACH = 2
/** f_type of a namespace file in statfs(2). */
export const NSFS_MAGIC = 0x6e736673
