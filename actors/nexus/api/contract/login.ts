/** Ways to get credentials: logins, logging out, and the device flow. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import { userId, uuid, password } from '#actors/http/words.ts'

export const deviceAccessTokenRequest = Type.Object(
  { client_id: uuid, device_code: Type.String(), grant_type: Type.String() },
  { component: 'DeviceAccessTokenRequest' },
)

export const deviceAuthRequest = Type.Object(
  { client_id: uuid },
  { component: 'DeviceAuthRequest' },
)

export const deviceAuthVerify = Type.Object(
  { user_code: Type.String() },
  { component: 'DeviceAuthVerify' },
)

export const spoofLoginBody = Type.Object(
  { username: Type.String() },
  { component: 'SpoofLoginBody' },
)

export const usernamePasswordCredentials = Type.Object(
  { password, username: userId },
  { component: 'UsernamePasswordCredentials' },
)

export const loginOperations = {
  device_auth_request: operation('POST /device/auth', {
    tag: 'hidden',
    summary: 'Start an OAuth 2.0 Device Authorization Grant',
    access: 'anyone',
    body: deviceAuthRequest,
    body_type: 'application/x-www-form-urlencoded',
    reply: 'free',
  }),
  device_auth_confirm: operation('POST /device/confirm', {
    tag: 'hidden',
    summary: 'Confirm an OAuth 2.0 Device Authorization Grant',
    body: deviceAuthVerify,
    status: 204,
    reply: 'nothing',
  }),
  device_access_token: operation('POST /device/token', {
    tag: 'hidden',
    summary: 'Request a device access token',
    access: 'anyone',
    body: deviceAccessTokenRequest,
    body_type: 'application/x-www-form-urlencoded',
    reply: 'free',
  }),
  login_spoof: operation('POST /login', {
    tag: 'hidden',
    summary: 'Log in as a test user',
    access: 'anyone',
    body: spoofLoginBody,
    status: 204,
    reply: 'nothing',
  }),
  login_local: operation('POST /login/{silo_name}/local', {
    tag: 'login',
    summary: 'Authenticate a user (i.e., log in) via username and password',
    access: 'anyone',
    body: usernamePasswordCredentials,
    status: 303,
    reply: 'redirect',
  }),
  login_saml_begin: operation('GET /login/{silo_name}/saml/{provider_name}', {
    tag: 'login',
    summary: 'Prompt user login',
    access: 'anyone',
    status: 302,
    reply: 'redirect',
  }),
  login_saml: operation('POST /login/{silo_name}/saml/{provider_name}', {
    tag: 'login',
    summary: 'Authenticate a user (i.e., log in) via SAML',
    access: 'anyone',
    body_type: 'application/octet-stream',
    status: 303,
    reply: 'redirect',
  }),
  logout: operation('POST /logout', {
    tag: 'hidden',
    summary: 'Log out',
    access: 'anyone',
    status: 204,
    reply: 'nothing',
  }),
}
