/** Identity providers of silos, and logins that they vouch for. xmlsec1 signs what must be believed. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { inflateRawSync } from 'node:zlib'
import { acs_url, bare, Idp, noSignature, sp_client_id, type Said } from '#test/kit/idp.ts'
import { TestNexus } from './kit.ts'

let nexus: TestNexus
let idp: Idp
let other: Idp
const providers = '/system/silos/remote/identity-providers/saml'
const login = '/login/remote/saml/idp'
const base64 = (text: string) => Buffer.from(text).toString('base64')

const providerBody = (more: object = {}) => ({
  name: 'idp',
  description: 'a provider',
  idp_metadata_source: { type: 'base64_encoded_xml', data: base64(idp.metadata()) },
  idp_entity_id: idp.entity_id,
  sp_client_id,
  acs_url,
  slo_url: 'https://rack.test/logout',
  technical_contact_email: 'ops@rack.test',
  signing_keypair: { public_cert: idp.certificate, private_key: derKey(idp) },
  group_attribute_name: 'groups',
  ...more,
})
const derKey = ({ key }: Idp) => keys.get(key) ?? ''
/** Base64 of DER, by path. */
const keys = new Map<string, string>()

before(async () => {
  idp = await new Idp().open()
  other = await new Idp().open()
  for (const { key } of [idp, other]) keys.set(key, bare(readFileSync(key, 'utf8')))
  nexus = await TestNexus.start()
  const silo = { description: '', discoverable: true }
  await nexus.ok('POST', '/system/silos', {
    ...{ ...silo, name: 'remote', identity_mode: 'saml_jit', admin_group_name: 'admins' },
  })
  await nexus.ok('POST', '/system/silos', { ...silo, name: 'local', identity_mode: 'local_only' })
  await nexus.ok('POST', providers, providerBody())
})
after(async () => {
  await nexus.stop()
  idp.close()
  other.close()
})

const post = async (xml: string, state: string | null = null, headers = {}) => {
  const form = new URLSearchParams({ SAMLResponse: base64(xml) })
  if (state !== null) form.set('RelayState', state)
  const type = { 'content-type': 'application/x-www-form-urlencoded', ...headers }
  return await nexus.raw({ method: 'POST', url: login, headers: type, payload: form.toString() })
}
const signed = async (said: Said, by = idp) => await by.sign(by.response(said))
const cookieOf = (answer: Awaited<ReturnType<typeof post>>) =>
  String(answer.headers['set-cookie']).split(';')[0] ?? ''
const asMe = async (cookie: string, path = '/session/me') =>
  await nexus.raw({ method: 'GET', url: path, headers: { cookie } })
const refused = async (xml: string) => {
  const answer = await post(xml)
  assert.equal(answer.status, 401, answer.text)
  assert.equal(answer.json.message, 'credentials missing or invalid')
  assert.equal(answer.headers['set-cookie'], undefined)
}

test('a provider is listed and viewed without what is secret', async () => {
  const listed = await nexus.ok('GET', '/system/silos/remote/identity-providers')
  assert.deepEqual(
    listed.items.map(({ name, provider_type }: any) => [name, provider_type]),
    [['idp', 'saml']],
  )
  const seen = await nexus.call('GET', `${providers}/idp`)
  assert.equal(seen.json.public_cert, idp.certificate)
  assert.doesNotMatch(seen.text, /private|EntityDescriptor/)
  const again = await nexus.call('POST', providers, providerBody())
  assert.equal(again.json.message, 'already exists: saml-identity-provider "idp"')
  const none = await nexus.call('GET', `${providers}/none`)
  assert.equal(none.json.message, 'not found: saml-identity-provider with name "none"')
})

const asSource = (text: string) => ({
  idp_metadata_source: { type: 'base64_encoded_xml', data: base64(text) },
})

test('what a provider cannot be made of is refused by name', async () => {
  const local = await nexus.call(
    'POST',
    '/system/silos/local/identity-providers/saml',
    providerBody(),
  )
  assert.equal(local.json.message, 'cannot create identity providers in this kind of Silo')
  const bomb = `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>`
  const file = `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>`
  const [cert, key] = [idp.certificate, derKey(other)]
  const { privateKey: curve } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ec = curve.export({ type: 'pkcs8', format: 'der' }).toString('base64')
  for (const [more, message] of [
    [{ idp_metadata_source: { type: 'base64_encoded_xml', data: '%' } }, /"data": error decoding/],
    [
      { idp_metadata_source: { type: 'url', url: 'file:///etc/passwd' } },
      /"url": error querying url/,
    ],
    [asSource('no xml'), /cannot use the metadata/],
    [asSource('<x/>'), /its root is not an EntityDescriptor/],
    [asSource(bomb), /document types are not allowed/],
    [asSource(file), /document types are not allowed/],
    [asSource('<a>'.repeat(50_000)), /nested too deeply/],
    [
      asSource(idp.metadata().replace('HTTP-Redirect', 'SOAP')),
      /no SingleSignOnService with the HTTP-Red/,
    ],
    [asSource(idp.metadata().replace(cert, 'AAAA')), /no X.509 certificate/],
    [asSource('x'.repeat(600_000)), /metadata may have at most 524288 bytes/],
    [{ idp_entity_id: 'else' }, /"idp_entity_id": it is not the entityID/],
    [{ acs_url: 'javascript:alert(1)' }, /"acs_url": it must be an http/],
    [{ signing_keypair: { public_cert: 'AAAA', private_key: key } }, /"public_cert": it must be/],
    [{ signing_keypair: { public_cert: cert, private_key: 'AAAA' } }, /"private_key": it must be/],
    [{ signing_keypair: { public_cert: cert, private_key: ec } }, /"private_key": it must be/],
    [{ signing_keypair: { public_cert: cert, private_key: key } }, /not that of the certificate/],
  ] as const) {
    const answer = await nexus.call('POST', providers, providerBody({ name: 'bad', ...more }))
    assert.equal(answer.status, 400, answer.text)
    assert.match(answer.json.message, message)
    assert.ok(!answer.text.includes(key.slice(0, 40)))
  }
})

/** Serves metadata, or what stands where it should be. */
async function withServer(listen: RequestListener, use: (url: string) => Promise<void>) {
  const server = createServer(listen)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metadata`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}
const byUrl = async (name: string, url: string) =>
  await nexus.call(
    'POST',
    providers,
    providerBody({ name, idp_metadata_source: { type: 'url', url }, signing_keypair: null }),
  )

test('metadata is fetched by URL, without following redirects and not without end', async () => {
  await withServer(
    (_request, response) => response.end(idp.metadata()),
    async (url) => {
      assert.equal((await byUrl('by-url', url)).status, 201)
    },
  )
  for (const [listen, message] of [
    [
      ((_q, a) => a.writeHead(302, { location: '/else' }).end()) as RequestListener,
      /returned: 302/,
    ],
    [((_q, a) => a.writeHead(500).end()) as RequestListener, /returned: 500/],
    [
      ((_q, a) => {
        a.on('error', () => undefined)
        for (let part = 0; part < 20; part += 1) a.write('x'.repeat(65_536))
      }) as RequestListener,
      /at most 524288 bytes/,
    ],
    [((q) => q.destroy()) as RequestListener, /error querying url: /],
  ] as const) {
    await withServer(listen, async (url) => {
      const answer = await byUrl('bad', url)
      assert.equal(answer.status, 400)
      assert.match(answer.json.message, message)
    })
  }
})

/** Begins a login; the request's id and the query of the redirect. */
async function begin(headers: Record<string, string> = {}) {
  const answer = await nexus.raw({ method: 'GET', url: login, headers })
  assert.equal(answer.status, 302)
  const location = new URL(String(answer.headers['location']))
  const request = inflateRawSync(
    Buffer.from(location.searchParams.get('SAMLRequest') ?? '', 'base64'),
  ).toString()
  return { location, request, id: / ID="([^"]+)"/.exec(request)?.[1] ?? '' }
}

test('a login begins with a signed request to the provider', async () => {
  const { location, request } = await begin({ referer: 'https://rack.test/orgs' })
  assert.equal(location.origin + location.pathname, 'https://idp.test/sso')
  assert.equal(location.searchParams.get('x'), '1')
  assert.match(request, new RegExp(`AssertionConsumerServiceURL="${acs_url}"`))
  assert.match(request, new RegExp(`>${sp_client_id}</`))
  const [, text = '', signature = ''] =
    /(SAMLRequest=.*)&Signature=([^&]*)/.exec(location.search) ?? []
  const pem = `-----BEGIN CERTIFICATE-----\n${idp.certificate}\n-----END CERTIFICATE-----`
  const bytes = Buffer.from(decodeURIComponent(signature), 'base64')
  assert.ok(verify('sha256', Buffer.from(text), pem, bytes), 'its signature holds')
  const state = JSON.parse(
    Buffer.from(location.searchParams.get('RelayState') ?? '', 'base64').toString(),
  )
  assert.deepEqual(state, { referer: 'https://rack.test/orgs' })
  assert.equal((await begin()).location.searchParams.get('RelayState'), null)
  const gone = await nexus.raw({ method: 'GET', url: '/login/remote/saml/none' })
  assert.equal(gone.json.message, 'not found: identity-provider with name "none"')
})

test('whom the provider vouches for is made on the spot, with groups, and is one and the same', async () => {
  const { id, location } = await begin({ referer: 'https://rack.test/orgs?x=1' })
  const xml = await signed({ in_response_to: id, groups: ['crew, admins', 'crew'] })
  const answer = await post(xml, location.searchParams.get('RelayState'), { host: 'rack.test' })
  assert.equal(answer.status, 303, answer.text)
  assert.equal(answer.headers['location'], 'https://rack.test/orgs?x=1')
  const me = (await asMe(cookieOf(answer))).json
  assert.equal(me.display_name, 'ada@idp.test')
  const groups = (await asMe(cookieOf(answer), '/session/me/groups')).json.items
  assert.deepEqual(groups.map((group: any) => group.display_name).toSorted(), ['admins', 'crew'])
  // The silo's admin group makes its members administrators.
  const made = await nexus.raw({
    method: 'POST',
    url: '/organizations',
    headers: { cookie: cookieOf(answer), 'content-type': 'application/json' },
    payload: JSON.stringify({ name: 'theirs', description: '' }),
  })
  assert.equal(made.status, 201, made.text)
  const later = await post(await signed({ groups: ['night'] }))
  assert.equal(later.headers['location'], '/')
  assert.equal((await asMe(cookieOf(later))).json.id, me.id)
  const now = (await asMe(cookieOf(later), '/session/me/groups')).json.items
  assert.deepEqual(
    now.map((group: any) => group.display_name),
    ['night'],
  )
})

test('where a login leads is on this host', async () => {
  for (const referer of ['https://evil.test/', '//evil.test', 'javascript:alert(1)', 7]) {
    const state = base64(JSON.stringify({ referer }))
    const answer = await post(await signed({}), state, { host: 'rack.test' })
    assert.equal(answer.headers['location'], '/', String(referer))
  }
  assert.equal((await post(await signed({}), 'no base64 {')).headers['location'], '/')
})

test('what is not for us, not now or not by the provider is refused', async () => {
  await refused(noSignature(idp.response({})))
  await refused(await signed({}, other))
  await refused(await signed({ audience: 'urn:else' }))
  await refused(await signed({ recipient: 'https://else.test' }))
  await refused(await signed({ destination: 'https://else.test' }))
  await refused(await signed({ issuer: 'https://else.test' }))
  await refused(await signed({ expires_s: -61 }))
  await refused(await signed({ expires_s: 90_000 }))
  await refused(await signed({ in_response_to: '_never' }))
  await refused(await signed({ user: '' }))
  await refused(await signed({ user: 'x'.repeat(600) }))
  await refused(await signed({ algorithm: 'rsa-sha1' }))
  await refused((await signed({})).replace('ada@idp.test', 'eve@idp.test'))
  await refused(`<!DOCTYPE x [<!ENTITY a "b">]>${idp.response({})}`)
  await refused('<a>'.repeat(1_000))
})

test('an assertion and a request count once', async () => {
  const { id } = await begin()
  const xml = await signed({ in_response_to: id })
  assert.equal((await post(xml)).status, 303)
  await refused(xml)
  await refused(await signed({ in_response_to: id }))
  const unasked = await signed({})
  const both = await Promise.all([post(unasked), post(unasked)])
  assert.deepEqual(both.map(({ status }) => status).toSorted(), [303, 401])
  const old = (await begin()).id
  await nexus.store.updateTable('saml_login_request').set({ time_expires_ms: 1 }).execute()
  await refused(await signed({ in_response_to: old }))
})

const assertionOf = (response: string) =>
  /<saml:Assertion[\s\S]*<\/saml:Assertion>/.exec(response)?.[0] ?? ''

test('another assertion beside, around or in place of the signed one is not believed', async () => {
  const real = await signed({ id: '_real', user: 'ada@idp.test' })
  const inside = assertionOf(real)
  const forged = noSignature(assertionOf(idp.response({ id: '_forged', user: 'eve@idp.test' })))
  const wrap = (body: string) => real.replace(inside, () => body)
  const signature = /<ds:Signature[\s\S]*<\/ds:Signature>/.exec(inside)?.[0] ?? ''
  for (const body of [
    forged + inside,
    inside + forged,
    forged.replace('</saml:Assertion>', () => `${inside}</saml:Assertion>`),
    forged.replace('<saml:Subject>', () => `${signature}<saml:Subject>`),
    forged.replace('<saml:Subject>', () => `${signature}<saml:Subject>`) + inside,
    forged.replaceAll('_forged', '_real') + inside,
    `<samlp:Extensions>${inside}</samlp:Extensions>${forged}`,
    forged.replace(
      '<saml:Subject>',
      () =>
        `${signature.replace('</ds:Signature>', `<ds:Object>${inside}</ds:Object></ds:Signature>`)}<saml:Subject>`,
    ),
  ]) {
    await refused(wrap(body))
  }
  assert.equal((await post(real)).status, 303, 'the real one holds')
})

test('a comment within a name does not cut it', async () => {
  const xml = await signed({ user: 'ada@idp.test.evil.test' })
  const answer = await post(xml.replace('ada@idp.test.evil', 'ada@idp.test<!-- -->.evil'))
  assert.equal(answer.status, 303)
  assert.equal((await asMe(cookieOf(answer))).json.display_name, 'ada@idp.test.evil.test')
})

test('a form without a response in base64 is malformed', async () => {
  for (const [payload, message] of [
    ['', /missing field `SAMLResponse`/],
    ['SAMLResponse=a&SAMLResponse=b', /duplicate field/],
    ['SAMLResponse=%25', /not base64/],
    [`SAMLResponse=${'AAAA'.repeat(70_000)}`, /too long/],
  ] as const) {
    const answer = await nexus.raw({ method: 'POST', url: login, payload })
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, message)
  }
})

test('neither keys nor assertions nor sessions reach the log', async () => {
  const said = JSON.stringify(nexus.world.lines)
  assert.match(said, /a SAML login was refused/)
  assert.ok(!said.includes(derKey(idp).slice(100, 140)))
  assert.doesNotMatch(said, /ada@idp|eve@idp|SignatureValue|session=/)
})
