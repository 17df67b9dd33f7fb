/**
 * The words that the API's schemas are made of. Their JSON Schema keywords are what the document
 * shows, `component` the name it shows them under, `document` what it shows in addition without our
 * checking it; rules beyond JSON Schema are refinements, worded as the caller will read them.
 */
import { Type, type TSchema } from 'typebox'
import ipaddr from 'ipaddr.js'
import { limits } from '#config/limits.ts'

export const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()])
/** What may be missing or null: both mean absent. */
export const maybe = <S extends TSchema>(schema: S) => Type.Optional(nullable(schema))

/** What may be missing and then is `value`, which the handler puts in its place. */
export const withDefault = <S extends TSchema>(schema: S, value: unknown) =>
  Object.assign(Type.Optional(schema), { default: value })

/** The name that the document shows a schema under; null when it stands where it is used. */
export function componentOf(schema: TSchema): string | null {
  const { component }: Words = schema
  return component ?? null
}

/** What the document says of a schema beyond what is checked. */
export function documentWordsOf(schema: TSchema): Readonly<Record<string, unknown>> {
  const { document = {} }: Words = schema
  return document
}

/** A string with a problem finder: null when there is none, else what is wrong. */
export const text = (
  options: Type.TStringOptions & Words,
  problem: (text: string) => string | null,
) =>
  Type.Refine(
    Type.String(options),
    (value) => problem(value) === null,
    (value) => problem(value) ?? '',
  )
/** At most so many Unicode characters. */
const shortText = (what: string, characters_max: number) =>
  text({}, (value) =>
    value.length > characters_max && Array.from(value).length > characters_max
      ? `${what} may contain at most ${characters_max} characters`
      : null,
  )
/** A whole number of at most `largest`. */
export const whole = (options: Type.TNumberOptions & Words, largest: number) =>
  Type.Refine(
    Type.Integer(options),
    (value) => value <= largest,
    (value) => `invalid value: integer \`${value}\`, expected at most ${largest}`,
  )

interface Words {
  readonly component?: string
  readonly document?: Readonly<Record<string, unknown>>
}

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const plainUuid = /^[0-9a-f]{32}$/
const nameForm = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/

/** Why a text is no name, in Omicron's words and order; null when it is one. */
function nameProblem(given: string): string | null {
  const isUuid = uuidForm.test(given) || plainUuid.test(given)
  if (nameForm.test(given) && !isUuid) return null
  const characters = Array.from(given)
  const [first] = characters
  if (characters.length > 63) return 'name may contain at most 63 characters'
  if (first === undefined) return 'name requires at least one character'
  if (!/^[a-z]$/.test(first)) return 'name must begin with an ASCII lowercase character'
  const wrong = characters.find((character) => !/^[a-z0-9-]$/.test(character))
  if (wrong !== undefined) {
    return `name contains invalid character: "${wrong}" (allowed characters are lowercase ASCII, digits, and "-")`
  }
  if (given.endsWith('-')) return 'name cannot end with "-"'
  return 'name cannot be a UUID to avoid ambiguity with IDs'
}

const nameWords = {
  title: 'A name unique within the parent collection',
  pattern:
    '^(?![0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$)^[a-z][a-z0-9-]*[a-zA-Z0-9]$',
  maxLength: 63,
} as const
export const name = text({ component: 'Name', document: nameWords }, nameProblem)
export const userId = text({ component: 'UserId', document: nameWords }, nameProblem)

export const uuid = text({ document: { format: 'uuid' } }, (value) =>
  uuidForm.test(value)
    ? null
    : `UUID parsing failed: invalid value ${JSON.stringify(value.slice(0, 64))}`,
)
export const time = Type.String({ format: 'date-time' })

export const uint8 = whole({ format: 'uint8', minimum: 0 }, 0xff)
export const uint16 = whole({ format: 'uint16', minimum: 0 }, 0xffff)
export const uint32 = whole({ format: 'uint32', minimum: 0 }, 0xffff_ffff)
/** 64 bits in the document; beyond 2^53 JavaScript's numbers are not exact. */
export const uint64 = whole({ format: 'uint64', minimum: 0 }, Number.MAX_SAFE_INTEGER)
export const int64 = whole({ format: 'int64' }, Number.MAX_SAFE_INTEGER)
export const double = Type.Number({ format: 'double' })
export const byteCount = whole(
  { component: 'ByteCount', format: 'uint64', minimum: 0 },
  Number.MAX_SAFE_INTEGER,
)
export const instanceCpuCount = whole(
  { component: 'InstanceCpuCount', format: 'uint16', minimum: 0 },
  0xffff,
)
export const blockSize = Type.Enum([512, 2048, 4096], {
  component: 'BlockSize',
  document: { title: 'disk block size in bytes' },
})

const isIpv4 = (value: string) => ipaddr.IPv4.isValidFourPartDecimal(value)
const isIpv6 = (value: string) =>
  value.includes(':') && ipaddr.IPv6.isValid(value) && !value.includes('%')
export const ipAddress = text({ document: { format: 'ip' } }, (value) =>
  isIpv4(value) || isIpv6(value) ? null : 'invalid IP address syntax',
)
export const ipv4 = text({ document: { format: 'ipv4' } }, (value) =>
  isIpv4(value) ? null : 'invalid IPv4 address syntax',
)
export const ipv6 = text({ document: { format: 'ipv6' } }, (value) =>
  isIpv6(value) ? null : 'invalid IPv6 address syntax',
)

/** `192.0.2.1:80` or `[2001:db8::1]:80`, in parts; null when a text is neither. */
export function readSocketAddress(
  value: string,
): { readonly ip: string; readonly port: number } | null {
  const [, v6, v4, digits = ''] = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(value) ?? []
  const ip = v6 ?? v4 ?? ''
  const port = Number(digits)
  const isAddress = v6 === undefined ? isIpv4(ip) : isIpv6(ip)
  return isAddress && port <= 0xffff ? { ip, port } : null
}
/** The other way round. */
export const writeSocketAddress = (ip: string, port: number): string =>
  ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
export const socketAddress = text({}, (value) =>
  readSocketAddress(value) === null ? 'invalid socket address syntax' : null,
)

const netProblem = (isAddress: (value: string) => boolean, bits: number) => (value: string) => {
  const [address = '', prefix = '', ...rest] = value.split('/')
  const isNet = isAddress(address) && /^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= bits
  return isNet && rest.length === 0
    ? null
    : `invalid address: ${JSON.stringify(value.slice(0, 64))}`
}
export const ipv4Net = text(
  {
    component: 'Ipv4Net',
    document: {
      title: 'An IPv4 subnet',
      example: '192.168.1.0/24',
      pattern:
        '^(([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\\.){3}([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])/([8-9]|1[0-9]|2[0-9]|3[0-2])$',
    },
  },
  netProblem(isIpv4, 32),
)
export const ipv6Net = text(
  {
    component: 'Ipv6Net',
    document: {
      title: 'An IPv6 subnet',
      example: 'fd12:3456::/64',
      pattern:
        '^([fF][dD])[0-9a-fA-F]{2}:(([0-9a-fA-F]{1,4}:){6}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,6}:)\\/([1-9]|[1-9][0-9]|1[0-1][0-9]|12[0-8])$',
    },
  },
  netProblem(isIpv6, 128),
)
export const ipNet = Type.Union([ipv4Net, ipv6Net], { component: 'IpNet' })

export const macAddr = Type.String({
  component: 'MacAddr',
  document: { title: 'A MAC address', example: 'ff:ff:ff:ff:ff:ff' },
  pattern: '^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$',
  minLength: 17,
  maxLength: 17,
})
export const l4PortRange = text(
  {
    component: 'L4PortRange',
    document: {
      title: 'A range of IP ports',
      example: '22',
      pattern: '^[0-9]{1,5}(-[0-9]{1,5})?$',
      minLength: 1,
      maxLength: 11,
    },
  },
  (value) => {
    const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(value)
    const first = Number(match?.[1])
    const last = Number(match?.[2] ?? match?.[1])
    const isRange = first >= 1 && first <= last && last <= 0xffff
    return isRange ? null : `invalid port range ${JSON.stringify(value.slice(0, 64))}`
  },
)

export const roleName = Type.String({
  component: 'RoleName',
  document: { title: 'A name for a built-in role' },
  pattern: '[a-z-]+\\.[a-z-]+',
  maxLength: 63,
})
export const timeseriesName = Type.String({
  component: 'TimeseriesName',
  document: { title: 'The name of a timeseries' },
  pattern: '(([a-z]+[a-z0-9]*)(_([a-z0-9]+))*):(([a-z]+[a-z0-9]*)(_([a-z0-9]+))*)',
})
export const userData = text({ document: { format: 'byte' } }, (value) => {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
    return 'invalid base64'
  }
  return Buffer.from(value, 'base64').length > limits.user_data_bytes_max
    ? `User data exceeds maximum size of ${limits.user_data_bytes_max} bytes`
    : null
})

export const description = shortText('description', 512)
export const hostname = shortText('hostname', 63)
export const publicKey = shortText('public_key', 1023)
export const url = shortText('url', 8192)
export const version = shortText('version', 64)
export const password = text(
  {
    component: 'Password',
    document: { title: 'A password used to authenticate a user', maxLength: 512 },
  },
  (value) => (Buffer.byteLength(value) > 512 ? 'password may contain at most 512 bytes' : null),
)

/** The fields of every named resource: as made, as changed, as shown. */
export const identity = { name, description }
export const updatedIdentity = { name: maybe(name), description: maybe(description) }
export const asset = { id: uuid, time_created: time, time_modified: time }
export const named = { ...asset, name, description: Type.String() }

/** A page of a list of these components. */
export const page = <S extends TSchema>(items: S) =>
  Type.Object(
    { items: Type.Array(items), next_page: maybe(Type.String()) },
    { component: `${componentOf(items) ?? ''}ResultsPage` },
  )

/** How many items of a list are asked for; larger numbers mean the largest page. */
export const pageLimit = Type.Refine(
  Type.Integer({ format: 'uint32', minimum: 1 }),
  (value) => value <= 0xffff_ffff,
  () => 'expected a non-zero u32',
)
const order = Type.Literal
export const sortModes = {
  name: Type.Union([order('name_ascending')], { component: 'NameSortMode' }),
  id: Type.Union([order('id_ascending')], { component: 'IdSortMode' }),
  name_or_id: Type.Union(
    [order('name_ascending'), order('name_descending'), order('id_ascending')],
    { component: 'NameOrIdSortMode' },
  ),
} as const

export const identityType = Type.Enum(['silo_user', 'silo_group'], { component: 'IdentityType' })

/** A policy's list. */
export const assignments = <S extends TSchema>(assignment: S) =>
  Type.Refine(
    Type.Array(assignment),
    (list) => !Array.isArray(list) || list.length <= limits.role_assignments_max,
    (list) =>
      `invalid length ${Array.isArray(list) ? list.length : 0}, expected a list of at most ${limits.role_assignments_max} role assignments`,
  )

/** What is said when something failed. */
export const errorBody = Type.Object(
  {
    error_code: Type.Optional(Type.String()),
    message: Type.String(),
    request_id: Type.String(),
  },
  { component: 'Error' },
)
